// SPDX-License-Identifier: Apache-2.0
// The words of a command as one text that a shell reads back, and those words out of it again. Layer: runner, text.
#ifndef HZBENCH_WORDS_H
#define HZBENCH_WORDS_H

#include <stddef.h>

// One line: plain words as they are, others in single quotes, a blank between. 1 when all of it fits.
int words_join(char *const *words, char *out, size_t out_bytes);

// Takes a text of words_join apart, in place. `words` gets at most `capacity` of them and a NULL; returns how many.
size_t words_split(char *text, char **words, size_t capacity);

#endif
