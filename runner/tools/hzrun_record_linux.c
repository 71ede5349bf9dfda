// SPDX-License-Identifier: Apache-2.0
// Recording under hzrun. Owns the absolute path of the trace. Layer: runner.
#include "hzrun_record.h"

#include "../../allocators/loader/os_library.h"
#include "../../workloads/recorder/pack.h"
#include "../../workloads/recorder/recording.h"
#include "../../workloads/trace/layout.h"

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

#define OTHERS_SHOWN 5 // in the line about them

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

// Whether a recording can begin there: the file can be made and there is room. 0, or an error number. Leaves a file
// that was there as it was.
static int try_trace(void) {
    struct stat before;
    const int was_there = stat(trace, &before) == 0;
    const int fd = open(trace, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    int error = fd < 0 ? errno : 0;
    if (fd >= 0 && !was_there)
        error = posix_fallocate(fd, 0, RECORDING_GROW_BYTES);
    if (fd >= 0)
        close(fd);
    if (fd >= 0 && !was_there)
        unlink(trace);
    return error == EOPNOTSUPP || error == EINVAL ? 0 : error; // a file system that cannot reserve
}

static int is_full_disk(int error) {
    return error == ENOSPC || error == EDQUOT;
}

static int is_foreign(void) {
    char start[sizeof LAYOUT_MAGIC] = LAYOUT_MAGIC;
    FILE *file = fopen(trace, "rb");
    const size_t got = file != NULL ? fread(start, 1, sizeof start - 1, file) : 0;
    if (file != NULL)
        fclose(file);
    return got > 0 && (got < sizeof start - 1 || strcmp(start, LAYOUT_MAGIC) != 0);
}

enum hzrun_record_result hzrun_record_prepare(struct hzrun *run, const char *file, char *why, size_t why_bytes) {
    char directory[PATH_MAX] = "";
    glob_t found = {0};
    if (!os_library_find_own("hzrun", "libhzrecord.so", recorder, sizeof recorder)) {
        snprintf(why, why_bytes, "libhzrecord.so is not beside hzrun nor where it is installed - build everything");
        return HZRUN_RECORD_UNAVAILABLE;
    }
    if (file[0] != '/' && getcwd(directory, sizeof directory) == NULL) {
        snprintf(why, why_bytes, "--record=%s: the current directory has no path - give an absolute one", file);
        return HZRUN_RECORD_USAGE;
    }
    const int bytes = snprintf(trace, sizeof trace, "%s%s%s", directory, file[0] == '/' ? "" : "/", file);
    if (bytes >= (int)sizeof trace - 64) {
        snprintf(why, why_bytes, "--record=%.64s...: the path is too long - give a shorter one", file);
        return HZRUN_RECORD_USAGE;
    }
    if (is_foreign()) {
        snprintf(why, why_bytes, "--record=%s: is there and no recording - give another file; nothing was started",
                 file);
        return HZRUN_RECORD_USAGE;
    }
    const int error = try_trace();
    if (error != 0) {
        snprintf(why, why_bytes, "--record=%s: %s - %s; nothing was started", file, strerror(error),
                 is_full_disk(error) ? "make room" : "give another file");
        return is_full_disk(error) ? HZRUN_RECORD_UNAVAILABLE : HZRUN_RECORD_USAGE;
    }
    int old = find_recordings(&found);
    if (old > 0)
        snprintf(why, why_bytes, "--record=%s: %s is there from a recording before - remove it or give another file",
                 file, found.gl_pathv[0]);
    globfree(&found);
    if (old != 0)
        return HZRUN_RECORD_USAGE;
    hzrun_preload(run, recorder);
    hzrun_set(run, RECORDING_ENV, trace);
    hzrun_set(run, RECORDING_QUIET_ENV, "1");
    return HZRUN_RECORD_READY;
}

// ---- afterwards ----------------------------------------------------------------------------------------------------

// What one image of one process has left.
struct image {
    char name[PATH_MAX]; // of its trace
    struct pack_result result;
    uint64_t bytes; // of its trace
};

static void tell_progress(uint64_t done, uint64_t whole) {
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\rhzrun: packing, %3.0f %% of %.1f MiB \033[K",
                whole != 0 ? 100.0 * (double)done / (double)whole : 100, (double)whole / (1 << 20));
}

static void forget_progress(void) {
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
}

// Largest first.
static int compare_images(const void *left, const void *right) {
    const struct image *a = left, *b = right;
    return (a->result.calls < b->result.calls) - (a->result.calls > b->result.calls);
}

static void tell(const char *file, const struct pack_result *result) {
    struct stat status;
    double mebibytes = stat(file, &status) == 0 ? (double)status.st_size / (1 << 20) : 0;
    fprintf(stderr, "hzrun: %s: %" PRIu64 " calls of %s in %" PRIu64 " thread%s, %.3f MiB%s%s\n", file, result->calls,
            result->header.program, result->header.threads, result->header.threads == 1 ? "" : "s", mebibytes,
            result->is_ended ? "" : "; it left without exit handlers",
            result->is_full ? "; warning: the disk was full, the rest is missing" : "");
}

// One line, however many there are.
static void tell_others(const struct image *images, size_t count) {
    if (count < 2)
        return;
    fprintf(stderr, "hzrun: %zu other%s, by size:", count - 1, count == 2 ? "" : "s");
    for (size_t i = 1; i < count && i <= OTHERS_SHOWN; i++)
        fprintf(stderr, "%s %s of %s, %" PRIu64 " calls", i > 1 ? "," : "", strrchr(images[i].name, '/') + 1,
                images[i].result.header.program, images[i].result.calls);
    if (count - 1 > OTHERS_SHOWN)
        fprintf(stderr, " and %zu smaller ones", count - 1 - OTHERS_SHOWN);
    fputs("\n", stderr);
}

// Python takes small objects out of pools of its own.
static void tell_hint(const struct pack_result *result) {
    if (strncmp(result->header.program, "python", strlen("python")) == 0 && getenv("PYTHONMALLOC") == NULL)
        fputs("hzrun: python takes objects of up to 512 bytes from pools of its own, which are not in it - set "
              "PYTHONMALLOC=malloc to record all\n",
              stderr);
}

// What the recorder has measured of itself, against all CPU time of the processes.
static void tell_cost(const struct image *images, size_t count) {
    double recorded_ns = 0, calls = 0;
    struct rusage usage;
    for (size_t i = 0; i < count; i++) {
        recorded_ns += images[i].result.call_ns * (double)images[i].result.calls;
        calls += images[i].result.call_ns > 0 ? (double)images[i].result.calls : 0;
    }
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

// Adds a name to the list, once.
static void note_program(const char *program, char *seen, size_t seen_bytes) {
    const size_t length = strlen(program), used = strlen(seen);
    for (const char *at = seen; *at != '\0'; at += strcspn(at, " "), at += *at == ' ')
        if (strncmp(at, program, length) == 0 && (at[length] == ' ' || at[length] == '\0'))
            return;
    snprintf(seen + used, seen_bytes - used, "%s%s", used != 0 ? " " : "", program);
}

// Packs all recordings of `only` (NULL: all) that hold a call. -1: one line in `why`, and what is not packed stays.
static int pack_all(const char *only, const glob_t *found, struct image *images, char *seen, size_t seen_bytes,
                    char *why, size_t why_bytes) {
    int count = 0;
    for (size_t i = 0; i < found->gl_pathc; i++) {
        struct image *image = &images[count];
        const char *recording = found->gl_pathv[i];
        snprintf(image->name, sizeof image->name, "%.*s", (int)(strlen(recording) - strlen(RECORDING_SUFFIX)),
                 recording);
        const int is_packed = pack_recording(recording, image->name, 1, tell_progress, &image->result, why, why_bytes);
        forget_progress();
        if (!is_packed)
            return -1;
        unlink(recording);
        const char *program = image->result.header.program;
        if (image->result.calls != 0)
            note_program(program, seen, seen_bytes);
        if (image->result.calls == 0 || (only != NULL && strcmp(program, only) != 0))
            unlink(image->name); // nothing to replay, or not asked for
        else
            count++;
    }
    return count;
}

int hzrun_record_finish(const char *only, char *why, size_t why_bytes) {
    glob_t found = {0};
    char seen[512] = "";
    const int recordings = find_recordings(&found);
    struct image *images = calloc(recordings > 0 ? (size_t)recordings : 1, sizeof *images);
    int count = 0;
    if (images == NULL)
        snprintf(why, why_bytes, "no memory for %d recordings - `hztrace pack` makes traces of them", recordings);
    else
        count = recordings > 0 ? pack_all(only, &found, images, seen, sizeof seen, why, why_bytes) : 0;
    globfree(&found);
    if (images == NULL || count < 0) {
        free(images);
        return 0;
    }
    if (count > 0) {
        qsort(images, (size_t)count, sizeof *images, compare_images);
        if (rename(images[0].name, trace) != 0) {
            snprintf(why, why_bytes, "%s: %s - the trace is %s", trace, strerror(errno), images[0].name);
            free(images);
            return 0;
        }
        tell(trace, &images[0].result);
        tell_others(images, (size_t)count);
        tell_hint(&images[0].result);
        tell_cost(images, (size_t)count);
    } else if (only != NULL && seen[0] != '\0') {
        snprintf(why, why_bytes, "--record-only=%s: no program of that name allocated anything - there were %s", only,
                 seen);
    } else {
        snprintf(why, why_bytes,
                 recordings > 0 ? "--record=%s: the program made no call of malloc that can be recorded - it allocates "
                                  "nothing, or has a malloc of its own"
                 : is_full_disk(try_trace()) ? "--record=%s: nothing was recorded - the disk is full, make room"
                                             : "--record=%s: nothing was recorded - the program could not write there",
                 trace);
    }
    free(images);
    return count > 0;
}
