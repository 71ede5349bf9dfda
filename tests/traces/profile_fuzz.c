// SPDX-License-Identifier: Apache-2.0
// Fuzz target of the profile reader: any bytes as a file. What is refused has one line that says why; what is shown to
// a workload keeps the format's promises, whatever comes behind it in the file. Layer: test.
#include "profile_fuzz.h"

#include "../../workloads/trace/profile_reader.h"

#include <stdlib.h>
#include <string.h>

struct seen {
    uint64_t rows, objects;
};

static void see(void *context, const struct profile_head *head, const struct profile_row *row) {
    struct seen *seen = context;
    seen->rows++;
    seen->objects += row->objects;
    if (head->threads < 1 || head->threads > 256 || row->size_min > row->size_max || row->size_max >> 40 != 0 ||
        row->lifetime_min > row->lifetime_max || row->lifetime_max >> 53 != 0 || row->lifetime_min > head->objects ||
        row->remote > 1 || row->objects < 1 || row->objects >> 53 != 0 || seen->rows > PROFILE_READER_ROWS_MAX)
        abort();
}

int profile_fuzz_read(const uint8_t *bytes, size_t count) {
    const struct trace_source source = trace_source_memory(bytes, count);
    struct profile_head head;
    struct seen seen = {0};
    char why[512] = "";
    const int is_read = profile_reader_read(&source, &head, see, &seen, why, sizeof why);
    if (is_read ? seen.objects != head.objects : why[0] == '\0' || strchr(why, '\n') != NULL)
        abort();
    return is_read;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    profile_fuzz_read(data, bytes);
    return 0;
}
