// SPDX-License-Identifier: Apache-2.0
// wrap.h
#include "wrap.h"

#include <string.h>

static const char blank[] = " \t\r\n"; // a command may have several lines

int wrap_text(struct buffer *out, const char *text, int indent) {
    int column = 0, lines = 1;
    for (const char *word = text; *word != '\0';) {
        int length = (int)strcspn(word, blank);
        if (word[length] == ' ' && word[length + 1] == '%')
            length += 1 + (int)strcspn(word + length + 1, blank);
        if (column > indent && column + 1 + length > WRAP_WIDTH) {
            buffer_put(out, '\n');
            column = 0;
            lines++;
        }
        const int blanks = column == 0 ? indent : 1;
        buffer_print(out, "%*s%.*s", blanks, "", length, word);
        column += blanks + length;
        word += length + (word[length] != '\0');
    }
    buffer_put(out, '\n');
    return lines;
}
