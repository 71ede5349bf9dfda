// SPDX-License-Identifier: Apache-2.0
// Feeds the files of a directory, and bytes of its own making, to the fuzz target where libFuzzer is missing.
// Usage: hz5_fuzz_replay CORPUS [COUNT]. Layer: test.
#include "../support/library.h"

#include <dirent.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerInitialize(int *argc, char ***argv);

int main(int argc, char **argv) {
    static uint8_t data[1024];
    DIR *directory = argc > 1 ? opendir(argv[1]) : NULL;
    if (directory == NULL) {
        fprintf(stderr, "usage: hz5_fuzz_replay CORPUS [COUNT]\n");
        return 2;
    }
    LLVMFuzzerInitialize(&argc, &argv);
    unsigned files = 0;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
        FILE *file = entry->d_name[0] != '.' ? fopen(path, "rb") : NULL;
        if (file == NULL)
            continue;
        size_t bytes = fread(data, 1, sizeof data, file);
        fclose(file);
        LLVMFuzzerTestOneInput(data, bytes);
        files++;
    }
    closedir(directory);
    uint64_t random = 5, count = argc > 2 ? strtoull(argv[2], NULL, 10) : test_count("HZ5_FUZZ_INPUTS", 500);
    for (uint64_t i = 0; i < count; i++) {
        size_t bytes = test_random(&random) % sizeof data;
        for (size_t at = 0; at < bytes; at++)
            data[at] = (uint8_t)test_random(&random);
        LLVMFuzzerTestOneInput(data, bytes);
    }
    printf("fuzz inputs: %u files, %llu random\n", files, (unsigned long long)count);
    return files == 0;
}
