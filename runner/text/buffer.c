// SPDX-License-Identifier: Apache-2.0
// buffer.h
#include "buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

// Room for `bytes` more and the NUL.
static int reserve(struct buffer *buffer, size_t bytes) {
    if (buffer->is_broken || buffer->room - buffer->used > bytes)
        return !buffer->is_broken;
    size_t room = 2 * buffer->room + bytes + 256;
    char *more = realloc(buffer->bytes, room);
    buffer->is_broken = more == NULL;
    if (more != NULL) {
        buffer->bytes = more;
        buffer->room = room;
    }
    return more != NULL;
}

void buffer_print(struct buffer *buffer, const char *format, ...) {
    size_t room = buffer->room - buffer->used;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(room > 0 ? buffer->bytes + buffer->used : NULL, room, format, arguments);
    va_end(arguments);
    if (length >= 0 && (size_t)length >= room && reserve(buffer, (size_t)length)) {
        va_start(arguments, format);
        vsnprintf(buffer->bytes + buffer->used, (size_t)length + 1, format, arguments);
        va_end(arguments);
    }
    buffer->is_broken |= length < 0;
    buffer->used += buffer->is_broken ? 0 : (size_t)length;
}

void buffer_put(struct buffer *buffer, char byte) {
    if (!reserve(buffer, 1))
        return;
    buffer->bytes[buffer->used++] = byte;
    buffer->bytes[buffer->used] = '\0';
}

char *buffer_take(struct buffer *buffer, size_t *bytes) {
    reserve(buffer, 0); // the empty text is one, too
    char *whole = buffer->bytes;
    *bytes = buffer->used;
    if (buffer->is_broken) {
        free(whole);
        whole = NULL;
    } else {
        whole[buffer->used] = '\0';
    }
    *buffer = (struct buffer){0};
    return whole;
}
