// SPDX-License-Identifier: Apache-2.0
// A trace in a file on Windows, read by position. Layer: trace.
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <string.h>
#include <windows.h>

static int64_t read_file(const struct trace_source *source, uint64_t offset, void *to, size_t bytes) {
    OVERLAPPED where = {.Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32)};
    DWORD got = 0;
    if (!ReadFile((HANDLE)_get_osfhandle(source->fd), to, (DWORD)bytes, &got, &where))
        return GetLastError() == ERROR_HANDLE_EOF ? 0 : -1;
    return (int64_t)got;
}

int trace_source_open(struct trace_source *source, const char *path, char *why, size_t why_bytes) {
    *source = (struct trace_source){.read = read_file, .fd = _open(path, _O_RDONLY | _O_BINARY | _O_NOINHERIT)};
    if (source->fd < 0) {
        snprintf(why, why_bytes, "%s: %s - give the path of a file that can be read", path, strerror(errno));
        return 0;
    }
    source->bytes = (uint64_t)_filelengthi64(source->fd);
    return 1;
}

void trace_source_close(struct trace_source *source) {
    if (source->fd >= 0)
        _close(source->fd);
    source->fd = -1;
}
