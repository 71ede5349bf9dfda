// SPDX-License-Identifier: Apache-2.0
// A shared library that is no allocator and depends on nothing, so that no malloc at all is found through it.
int lonely_answer(void);

int lonely_answer(void) {
    return 42;
}
