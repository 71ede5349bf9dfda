// SPDX-License-Identifier: Apache-2.0
// Four buffers that grow by realloc in turns, by doubling or by an eighth, so that what lies behind one is another's:
// their contents stay, nobody else's block lies in one, and the most that was resident is what they hold at the end
// and a part. Run with the library preloaded. Usage: growth_in_turns PERCENT; exit 1 when the peak was more than
// PERCENT of the buffers. Layer: test, preload.
#include "../support/status.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BUFFERS 4
#define FIRST_BYTES ((size_t)1 << 20)
#define LAST_BYTES ((size_t)64 << 20)
#define NEIGHBOURS 8

static void fill(unsigned char *at, size_t bytes, int buffer) {
    memset(at, buffer + 1, bytes);
}

static int is_filled(const unsigned char *at, size_t bytes, int buffer) {
    for (size_t i = 0; i < bytes; i += 509)
        if (at[i] != buffer + 1)
            return 0;
    return at[bytes - 1] == buffer + 1;
}

// 0: as it should be.
static int grow(size_t part, long percent) {
    unsigned char *buffers[BUFFERS] = {0}, *neighbours[NEIGHBOURS] = {0};
    size_t bytes = 0, next = FIRST_BYTES;
    int round = 0;
    for (; bytes < LAST_BYTES; bytes = next, next += next / part, next = next < LAST_BYTES ? next : LAST_BYTES) {
        for (int i = 0; i < BUFFERS; i++) {
            unsigned char *longer = realloc(buffers[i], next);
            if (longer == NULL || (bytes != 0 && !is_filled(longer, bytes, i))) {
                printf("realloc to %zu bytes failed or lost what the buffer held\n", next);
                return 3;
            }
            buffers[i] = longer;
            fill(longer + bytes, next - bytes, i);
            // Others come and go between the buffers.
            unsigned char **neighbour = &neighbours[round++ % NEIGHBOURS];
            free(*neighbour);
            *neighbour = malloc(200000 + (size_t)round % 7 * 70000);
            if (*neighbour != NULL)
                memset(*neighbour, 0xee, 4096);
        }
    }
    for (int i = 0; i < BUFFERS; i++) {
        if (!is_filled(buffers[i], bytes, i)) {
            printf("a buffer was written by another's owner\n");
            return 3;
        }
        buffers[i] = realloc(buffers[i], bytes / 3); // gives the rest back
        if (buffers[i] == NULL || !is_filled(buffers[i], bytes / 3, i)) {
            printf("a buffer did not shrink\n");
            return 3;
        }
        unsigned char *zero = calloc(1, bytes / 2);
        for (size_t at = 0; zero != NULL && at < bytes / 2; at += 4096)
            if (zero[at] != 0) {
                printf("calloc gave memory that was not zero\n");
                return 3;
            }
        free(zero);
    }
    for (int i = 0; i < BUFFERS; i++)
        free(buffers[i]);
    for (int i = 0; i < NEIGHBOURS; i++)
        free(neighbours[i]);
    long most = (long)(BUFFERS * LAST_BYTES / 1024 * (size_t)percent / 100);
    printf("growth by 1/%zu: peak %ld KiB, bound %ld KiB\n", part, test_status_kib("VmHWM"), most);
    return test_status_kib("VmHWM") > most;
}

int main(int argc, char **argv) {
    long percent = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    if (percent < 100) {
        fprintf(stderr, "usage: growth_in_turns PERCENT\n");
        return 2;
    }
    int bad = 0;
    for (size_t part = 1; part <= 8; part += 7) { // each in a process of its own: a peak never falls
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            int result = grow(part, percent);
            fflush(stdout);
            _exit(result);
        }
        int status = 0;
        if (child < 0 || waitpid(child, &status, 0) != child)
            return 3;
        bad |= WIFEXITED(status) ? WEXITSTATUS(status) : 4;
    }
    return bad;
}
