// SPDX-License-Identifier: Apache-2.0
// Quoting for a shell: inside single quotes every byte stands for itself, so only the quote itself needs a way out.
// Layer: runner, text.
#include "words.h"

#include <string.h>

struct text {
    char *out;
    size_t bytes, at; // `at` counts on when the text is full
};

static void put(struct text *text, char byte) {
    if (text->at + 1 < text->bytes)
        text->out[text->at] = byte;
    text->at++;
}

static void put_word(struct text *text, const char *word) {
    const int is_plain =
        word[0] &&
        strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-=.,/:%+@") == strlen(word);
    if (!is_plain)
        put(text, '\'');
    for (; *word; word++) {
        if (*word == '\'') { // ends the quotes, stands behind a backslash, begins them anew
            put(text, '\'');
            put(text, '\\');
            put(text, '\'');
        }
        put(text, *word);
    }
    if (!is_plain)
        put(text, '\'');
}

int words_join(char *const *words, char *out, size_t out_bytes) {
    struct text text = {out, out_bytes, 0};
    for (size_t i = 0; words[i] != NULL; i++) {
        if (i > 0)
            put(&text, ' ');
        put_word(&text, words[i]);
    }
    out[text.at < out_bytes ? text.at : out_bytes - 1] = '\0';
    return text.at < out_bytes;
}

size_t words_split(char *text, char **words, size_t capacity) {
    size_t count = 0;
    int is_quoted = 0;
    while (*text && count < capacity) {
        char *to = text;
        words[count++] = text;
        for (; *text && (is_quoted || *text != ' '); text++)
            if (*text == '\'')
                is_quoted = !is_quoted;
            else if (*text == '\\' && !is_quoted && text[1])
                *to++ = *++text;
            else
                *to++ = *text;
        text += *text == ' ';
        *to = '\0';
    }
    words[count] = NULL;
    return count;
}
