// SPDX-License-Identifier: Apache-2.0
// hz5's strict profile with more large blocks than a process may have guarded: blocks go without a guard, nothing
// fails, and malloc_stats() says how many. Run with libhz5.so preloaded and HZ5_OPTIONS=profile=strict. Layer: test,
// preload.
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK_BYTES 70000
#define LEAST_BLOCKS 80000u
#define MOST_BLOCKS 200000u

static char *blocks[MOST_BLOCKS];

static void fail(const char *what, unsigned long got, unsigned long bound) {
    printf("%s: %lu, bound %lu\n", what, got, bound);
    exit(1);
}

static unsigned long mappings(void) {
    FILE *file = fopen("/proc/self/maps", "r");
    unsigned long count = 0;
    for (int c; file != NULL && (c = getc(file)) != EOF;)
        count += c == '\n';
    if (file == NULL || fclose(file) != 0 || count == 0)
        fail("/proc/self/maps cannot be read", count, 1);
    return count;
}

// Whether a write behind the block ends the process.
static int is_guarded(char *block) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        block[(malloc_usable_size(block) + 4096) & ~(size_t)4095] = 1; // the page behind its last
        _exit(0);
    }
    int status = 0;
    return waitpid(child, &status, 0) == child && WIFSIGNALED(status);
}

// What malloc_stats() says goes to a file.
static int is_told(void) {
    FILE *file = tmpfile();
    char text[1000] = "";
    int saved = dup(STDERR_FILENO);
    if (file == NULL || saved < 0 || dup2(fileno(file), STDERR_FILENO) < 0)
        fail("no file for malloc_stats", 0, 1);
    malloc_stats();
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(file);
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    printf("%s", text);
    return strstr(text, "large blocks have no guard") != NULL;
}

int main(void) {
    FILE *file = fopen("/proc/sys/vm/max_map_count", "r");
    unsigned long limit = 0;
    if (file == NULL || fscanf(file, "%lu", &limit) != 1 || fclose(file) != 0)
        return 77;
    unsigned long count = limit / 2 + 2000 > LEAST_BLOCKS ? limit / 2 + 2000 : LEAST_BLOCKS;
    if (count > MOST_BLOCKS)
        return 77; // more than a test should take
    if (is_told())
        fail("blocks without guard at the start", 1, 0);
    for (unsigned long i = 0; i < count; i++) {
        blocks[i] = malloc(BLOCK_BYTES);
        if (blocks[i] == NULL)
            fail("large blocks", i, count);
    }
    unsigned long used = mappings();
    if (used > limit / 3)
        fail("mappings", used, limit / 3);
    if (!is_guarded(blocks[0]) || is_guarded(blocks[count - 1]))
        fail("the first block is guarded, the last is not", 0, 1);
    if (!is_told())
        fail("malloc_stats tells nothing", 0, 1);
    char *small = malloc(100);
    void *mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (small == NULL || mapped == MAP_FAILED)
        fail("memory beside them", 0, 1);
    free(small);
    for (unsigned long i = 0; i < count; i++)
        free(blocks[i]);
    if (is_told())
        fail("blocks without guard at the end", 1, 0);
    char *again = malloc(BLOCK_BYTES);
    if (again == NULL || !is_guarded(again))
        fail("a block after all were freed is guarded", 0, 1);
    memset(again, 1, BLOCK_BYTES);
    free(again);
    malloc_trim(0);
    printf("%lu blocks, %lu mappings of %lu\n", count, used, limit);
    return 0;
}
