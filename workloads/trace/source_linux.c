// SPDX-License-Identifier: Apache-2.0
// A trace in a file, read by position: no stream, so no buffer from malloc, and no mapping, whose pages would count as
// the process's resident set. Layer: trace.
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int64_t read_file(const struct trace_source *source, uint64_t offset, void *to, size_t bytes) {
    size_t done = 0;
    while (done < bytes) {
        const ssize_t got = pread(source->fd, (char *)to + done, bytes - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (int64_t)done;
}

int trace_source_open(struct trace_source *source, const char *path, char *why, size_t why_bytes) {
    struct stat status;
    *source = (struct trace_source){.read = read_file, .fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (source->fd < 0) {
        snprintf(why, why_bytes, "%s: %s - give the path of a file that can be read", path, strerror(errno));
        return 0;
    }
    if (fstat(source->fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        snprintf(why, why_bytes, "%s: not a regular file - it is read more than once", path);
        trace_source_close(source);
        return 0;
    }
    source->bytes = (uint64_t)status.st_size;
    return 1;
}

void trace_source_close(struct trace_source *source) {
    if (source->fd >= 0)
        close(source->fd);
    source->fd = -1;
}
