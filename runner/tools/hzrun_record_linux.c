// SPDX-License-Identifier: Apache-2.0
// Recording under hzrun. Owns the absolute path of the trace. Layer: runner.
#include "hzrun_record.h"

#include "../../allocators/loader/os_library.h"
#include "../../workloads/recorder/pack.h"
#include "../../workloads/recorder/recording.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char trace[PATH_MAX];            // absolute: the program may change its directory
static char recorder[HZRUN_PATH_BYTES]; // the library

// Recordings of this trace; their number, or -1.
static int find_recordings(glob_t *found) {
    char pattern[2 * PATH_MAX + 32];
    char *to = pattern;
    for (const char *from = trace; *from != '\0'; from++) {
        if (strchr("*?[\\", *from) != NULL)
            *to++ = '\\';
        *to++ = *from;
    }
    strcpy(to, ".*" RECORDING_SUFFIX);
    int result = glob(pattern, 0, NULL, found);
    return result == 0 ? (int)found->gl_pathc : result == GLOB_NOMATCH ? 0 : -1;
}

int hzrun_record_prepare(struct hzrun *run, const char *file, char *why, size_t why_bytes) {
    char directory[PATH_MAX] = "";
    glob_t found = {0};
    if (!os_library_find_own("hzrun", "libhzrecord.so", recorder, sizeof recorder)) {
        snprintf(why, why_bytes, "libhzrecord.so is not beside hzrun nor where it is installed - build everything");
        return 0;
    }
    if (file[0] != '/' && getcwd(directory, sizeof directory) == NULL) {
        snprintf(why, why_bytes, "--record=%s: the current directory has no path - give an absolute one", file);
        return 0;
    }
    int bytes = snprintf(trace, sizeof trace, "%s%s%s", directory, file[0] == '/' ? "" : "/", file);
    int fd = bytes < (int)sizeof trace - 64 ? open(trace, O_WRONLY | O_CREAT | O_CLOEXEC, 0666) : -1;
    if (fd < 0) {
        snprintf(why, why_bytes, "--record=%s: %s - give another file", file, strerror(errno));
        return 0;
    }
    close(fd);
    int old = find_recordings(&found);
    if (old > 0)
        snprintf(why, why_bytes, "--record=%s: %s is there from a recording before - remove it or give another file",
                 file, found.gl_pathv[0]);
    globfree(&found);
    if (old != 0)
        return 0;
    hzrun_preload(run, recorder);
    hzrun_set(run, RECORDING_ENV, trace);
    return 1;
}

// "TRACE.PID[-N].part" -> "TRACE" for the program's first image, "TRACE.PID[-N]" for all others.
static void name_trace(const char *recording, int pid, char *name, size_t name_bytes) {
    char own[32];
    const char *tail = recording + strlen(trace);
    int bytes = snprintf(own, sizeof own, ".%d" RECORDING_SUFFIX, pid);
    if ((int)strlen(tail) == bytes && strcmp(tail, own) == 0)
        snprintf(name, name_bytes, "%s", trace);
    else
        snprintf(name, name_bytes, "%.*s", (int)(strlen(recording) - strlen(RECORDING_SUFFIX)), recording);
}

static void tell(const char *name, const struct pack_result *result) {
    struct stat status;
    double mebibytes = stat(name, &status) == 0 ? (double)status.st_size / (1 << 20) : 0;
    fprintf(stderr, "hzrun: %s: %" PRIu64 " calls of %s in %" PRIu64 " thread%s, %.3f MiB%s%s\n", name, result->calls,
            result->header.program, result->header.threads, result->header.threads == 1 ? "" : "s", mebibytes,
            result->is_ended ? "" : "; it left without exit handlers",
            result->is_full ? "; warning: the disk was full, the rest is missing" : "");
}

// What the recorder has measured of itself, against all CPU time of the processes.
static void tell_cost(double recorded_ns, double calls) {
    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    double cpu_ns = ((double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec) * 1e9 +
                    ((double)usage.ru_utime.tv_usec + (double)usage.ru_stime.tv_usec) * 1e3;
    if (recorded_ns <= 0 || cpu_ns <= recorded_ns)
        fputs("hzrun: too few calls to tell what recording cost\n", stderr);
    else
        fprintf(stderr,
                "hzrun: recording took %.0f ns a call, slowing the program down by %.1f %% (%.2f s of %.2f s)\n",
                recorded_ns / calls, 100 * recorded_ns / (cpu_ns - recorded_ns), recorded_ns / 1e9, cpu_ns / 1e9);
}

int hzrun_record_finish(const struct hzrun_end *end, char *why, size_t why_bytes) {
    glob_t found = {0};
    char name[PATH_MAX];
    struct pack_result result;
    double recorded_ns = 0, calls = 0;
    int is_own_there = 0, is_own_empty = 0;
    int count = find_recordings(&found);
    for (int i = 0; i < count; i++) {
        name_trace(found.gl_pathv[i], end->pid, name, sizeof name);
        if (!pack_recording(found.gl_pathv[i], name, 1, &result, why, why_bytes)) {
            globfree(&found);
            return 0;
        }
        unlink(found.gl_pathv[i]);
        const int is_own = strcmp(name, trace) == 0;
        is_own_there |= is_own && result.calls != 0;
        is_own_empty |= is_own && result.calls == 0;
        if (result.calls == 0) {
            unlink(name); // nothing in it to replay
            continue;
        }
        tell(name, &result);
        recorded_ns += result.call_ns * (double)result.calls;
        calls += result.call_ns > 0 ? (double)result.calls : 0;
    }
    globfree(&found);
    if (is_own_there)
        tell_cost(recorded_ns, calls);
    if (!is_own_there) {
        unlink(trace);
        snprintf(why, why_bytes,
                 is_own_empty ? "--record=%s: the program made no call of malloc that can be recorded - it allocates "
                                "nothing, or has a malloc of its own"
                              : "--record=%s: nothing was recorded - the program could not write there",
                 trace);
    }
    return is_own_there;
}
