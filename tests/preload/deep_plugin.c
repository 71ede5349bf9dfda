// SPDX-License-Identifier: Apache-2.0
// A library that is opened with RTLD_DEEPBIND: takes a block of the program and gives it one. Layer: test.
#include <stdlib.h>
#include <string.h>

void plugin_free(void *block);
char *plugin_copy(const char *text);

void plugin_free(void *block) {
    free(block);
}

char *plugin_copy(const char *text) {
    return strdup(text);
}
