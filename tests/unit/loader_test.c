// SPDX-License-Identifier: Apache-2.0
// Unit tests of the loader: specs, tables, error lines, and the proof that nothing but the named library is measured.
// Started as `loader_test --load MODE SPEC` it loads one backend and prints the result: the tests do that to themselves
// under another environment.
#include "../../allocators/loader/loader.h"
#include "../../allocators/loader/os_library.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char why[512];
static struct allocator_spec spec;
static struct loaded_allocator loaded;
static struct allocator_provenance provenance;

static void load_spec(const char *text) {
    assert_int_equal(allocator_spec_parse(text, &spec, why, sizeof why), ALLOCATOR_LOADED);
}

// Path of a test library, given by meson through the environment.
static void load_library_spec(const char *variable) {
    assert_non_null(getenv(variable));
    load_spec(getenv(variable));
}

static void expect_parse_error(const char *text, const char *line) {
    why[0] = '\0';
    assert_int_equal(allocator_spec_parse(text, &spec, why, sizeof why), ALLOCATOR_UNKNOWN);
    assert_string_equal(why, line);
}

static void spec_parses_names_options_and_paths(void **state) {
    (void)state;
    load_spec("hz5");
    assert_string_equal(spec.text, "hz5");
    assert_string_equal(spec.name, "hz5");
    assert_string_equal(spec.options, "");
    assert_string_equal(spec.path, "");
    assert_string_equal(spec.backend->name, "hz5");
    load_spec("hz5{profile=rss,reject=count}");
    assert_string_equal(spec.text, "hz5{profile=rss,reject=count}");
    assert_string_equal(spec.name, "hz5");
    assert_string_equal(spec.options, "profile=rss,reject=count");
    load_spec("hz5{}");
    assert_string_equal(spec.options, "");
    load_spec("./libfoo.so");
    assert_null(spec.backend);
    assert_string_equal(spec.name, "libfoo.so");
    assert_string_equal(spec.path, "./libfoo.so");
    load_spec("/some/where/libbar.so.2");
    assert_string_equal(spec.name, "libbar.so.2");
    assert_string_equal(spec.path, "/some/where/libbar.so.2");
    for (size_t i = 0; i < allocator_backend_count; i++) {
        load_spec(allocator_backends[i].name);
        assert_ptr_equal(spec.backend, &allocator_backends[i]);
    }
    assert_null(allocator_backends[allocator_backend_count].name);
}

static void spec_refuses_nonsense_with_one_line(void **state) {
    (void)state;
    expect_parse_error("hz55", "unknown allocator 'hz55' - did you mean 'hz5'? (--list-allocators)");
    expect_parse_error("libfoo.so", "unknown allocator 'libfoo.so' - for a library file write ./libfoo.so "
                                    "(--list-allocators)");
    expect_parse_error("nonsense",
                       "unknown allocator 'nonsense' - use a name from --list-allocators or the path of a library");
    expect_parse_error("", "'' names no allocator - use a name from --list-allocators or the path of a library");
    expect_parse_error("{a=b}",
                       "'{a=b}' names no allocator - use a name from --list-allocators or the path of a library");
    expect_parse_error("hz5{", "allocator 'hz5{': options end with the one '}' at the end - write name{key=value}");
    expect_parse_error("hz5{a}b",
                       "allocator 'hz5{a}b': options end with the one '}' at the end - write name{key=value}");
    expect_parse_error("hz5{a{b}",
                       "allocator 'hz5{a{b}': options end with the one '}' at the end - write name{key=value}");
    expect_parse_error("mimalloc{a=1}", "allocator 'mimalloc' takes no options - write 'mimalloc'");
    expect_parse_error("./libfoo.so{a=1}", "allocator './libfoo.so{a=1}': a library given by its path takes no options "
                                           "- set its own environment variable instead");
    expect_parse_error("some/where/", "'some/where/' is a directory - give the path of a shared library");
    char text[600];
    for (size_t length = 64; length < sizeof text; length++) { // no length overruns a field
        memset(text, 'x', length);
        text[length] = '\0';
        assert_int_equal(allocator_spec_parse(text, &spec, why, sizeof why), ALLOCATOR_UNKNOWN);
        assert_non_null(strstr(why, "is too long"));
        text[1] = '/';
        text[length - 2] = '/';
        enum allocator_load_result result = allocator_spec_parse(text, &spec, why, sizeof why);
        assert_int_equal(result, length < sizeof spec.text ? ALLOCATOR_LOADED : ALLOCATOR_UNKNOWN);
        memcpy(text, "hz5{", 4);
        text[length - 1] = '}';
        result = allocator_spec_parse(text, &spec, why, sizeof why);
        assert_int_equal(result, length - 5 < sizeof spec.options ? ALLOCATOR_LOADED : ALLOCATOR_UNKNOWN);
    }
}

static void did_you_mean_knows_its_distance(void **state) {
    (void)state;
    assert_string_equal(allocator_did_you_mean("hz55"), "hz5");
    assert_string_equal(allocator_did_you_mean("jemaloc"), "jemalloc");
    assert_string_equal(allocator_did_you_mean("mimallco"), "mimalloc");
    assert_string_equal(allocator_did_you_mean("nul"), "null");
    assert_string_equal(allocator_did_you_mean("hz4"), "hz4");
    assert_null(allocator_did_you_mean("xyz"));
    assert_null(allocator_did_you_mean("tcmallocator"));
    assert_null(allocator_did_you_mean(""));
}

static void reject_names_are_complete(void **state) {
    (void)state;
    for (size_t i = 0; i < ALLOCATOR_REJECT_COUNT; i++) {
        assert_non_null(allocator_reject_names[i]);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(allocator_reject_names[i], allocator_reject_names[j]);
    }
    assert_string_equal(allocator_reject_names[ALLOCATOR_REJECT_FOREIGN], "foreign");
    assert_string_equal(allocator_reject_names[ALLOCATOR_REJECT_CORRUPT], "corrupt");
}

static _Alignas(16) char memory[256];

static void *fake_alloc(size_t bytes) {
    return bytes <= sizeof memory ? memset(memory, 0xee, sizeof memory) : NULL;
}

static void fake_free(void *block) {
    (void)block;
}

static void *fake_realloc(void *block, size_t bytes) {
    return bytes <= sizeof memory ? block : NULL;
}

static void fake_stats(struct allocator_stats *out) {
    memset(out, 0, sizeof *out);
}

static struct allocator sound_table(void) {
    return (struct allocator){
        .abi_version = ALLOCATOR_ABI_VERSION,
        .struct_bytes = sizeof(struct allocator),
        .name = "fake",
        .summary = "for tests",
        .capabilities = ALLOCATOR_STORES,
        .alloc = fake_alloc,
        .free = fake_free,
        .realloc = fake_realloc,
    };
}

static void expect_bad_table(const struct allocator *table, const char *line) {
    why[0] = '\0';
    assert_int_equal(allocator_check(table, why, sizeof why), 0);
    assert_string_equal(why, line);
}

static void check_rejects_each_bad_table(void **state) {
    (void)state;
    struct allocator table = sound_table();
    assert_int_equal(allocator_check(&table, why, sizeof why), 1);

    table.abi_version = 7;
    expect_bad_table(&table, "abi_version is 7, not 1");
    table = sound_table();
    table.struct_bytes = 8;
    char line[64];
    snprintf(line, sizeof line, "struct_bytes is 8, not %zu", sizeof table);
    expect_bad_table(&table, line);
    table = sound_table();
    table.name = NULL;
    expect_bad_table(&table, "it has no name");
    table.name = "";
    expect_bad_table(&table, "it has no name");
    table = sound_table();
    table.summary = NULL;
    expect_bad_table(&table, "its summary is not one line");
    table.summary = "two\nlines";
    expect_bad_table(&table, "its summary is not one line");
    table = sound_table();
    table.alloc = NULL;
    expect_bad_table(&table, "required member alloc is NULL");
    table = sound_table();
    table.free = NULL;
    expect_bad_table(&table, "required member free is NULL");
    table = sound_table();
    table.realloc = NULL;
    expect_bad_table(&table, "capability STORES needs member realloc, which is NULL");
    table.capabilities = 0; // stores nothing, so needs no realloc
    assert_int_equal(allocator_check(&table, why, sizeof why), 1);

    static const struct {
        uint64_t capability;
        const char *line;
    } promises[] = {
        {ALLOCATOR_OWNS_EXACT, "capability OWNS_EXACT needs member owns, which is NULL"},
        {ALLOCATOR_FAIL_CLOSED, "capability FAIL_CLOSED needs member stats, which is NULL"},
        {ALLOCATOR_PURGE, "capability PURGE needs member purge, which is NULL"},
        {ALLOCATOR_STATS, "capability STATS needs member stats, which is NULL"},
        {ALLOCATOR_ALIGNED, "capability ALIGNED needs member alloc_aligned, which is NULL"},
        {ALLOCATOR_VERIFY, "capability VERIFY needs member verify, which is NULL"},
        {(uint64_t)1 << 40, "capabilities has unknown bits 0x10000000000"},
    };
    for (size_t i = 0; i < sizeof promises / sizeof promises[0]; i++) {
        table = sound_table();
        table.capabilities |= promises[i].capability;
        expect_bad_table(&table, promises[i].line);
    }
    table = sound_table();
    table.capabilities |= ALLOCATOR_FAIL_CLOSED;
    table.stats = fake_stats;
    expect_bad_table(&table, "capability FAIL_CLOSED needs STATS to show its counts");
}

static void complete_fills_in_the_documented_fallbacks(void **state) {
    (void)state;
    struct allocator table = sound_table();
    table.realloc = NULL;
    table.capabilities = 0;
    allocator_complete(&table);
    errno = 0;
    assert_null(table.alloc_aligned(64, 64));
    assert_int_equal(errno, ENOMEM);
    char *zeroed = table.calloc(3, 5);
    assert_ptr_equal(zeroed, memory);
    for (size_t i = 0; i < 15; i++)
        assert_int_equal(zeroed[i], 0);
    assert_int_equal((unsigned char)zeroed[15], 0xee); // and no further
    errno = 0;
    assert_null(table.calloc(SIZE_MAX / 2, 3));
    assert_int_equal(errno, ENOMEM);
    assert_null(table.calloc(1, 257));
    assert_null(table.realloc(memory, 1));
    assert_int_equal(table.usable_size(memory), 0);
    assert_int_equal(table.owns(memory), -1);
    assert_int_equal(table.verify(), 0);
    table.thread_fini();
    table.purge();
    struct allocator_stats stats;
    memset(&stats, 0xff, sizeof stats);
    table.stats(&stats);
    static const struct allocator_stats zero;
    assert_memory_equal(&stats, &zero, sizeof stats);
    assert_string_equal(table.version(), "unknown");

    table = sound_table(); // what is there stays
    table.stats = fake_stats;
    allocator_complete(&table);
    assert_ptr_equal(table.stats, fake_stats);
    assert_ptr_equal(table.realloc, fake_realloc);
}

static void missing_library_names_its_package(void **state) {
    (void)state;
    static const struct allocator_backend absent = {.name = "absent",
                                                    .summary = "for tests",
                                                    .library = "libhzbench-absent.so.9",
                                                    .debian_package = "libhzbench-absent9"};
    static const struct allocator_backend own_absent = {
        .name = "own", .summary = "for tests", .library = "libhzbench-absent.so"};
    static const char line[] = "absent: libhzbench-absent.so.9 not found. Debian: apt-get install libhzbench-absent9";
    memset(&spec, 0, sizeof spec);
    strcpy(spec.text, "absent");
    strcpy(spec.name, "absent");
    spec.backend = &absent;
    assert_int_equal(allocator_load(&spec, ALLOCATOR_LOAD_DLOPEN, &loaded, why, sizeof why), ALLOCATOR_UNAVAILABLE);
    assert_string_equal(why, line);
    assert_int_equal(allocator_load(&spec, ALLOCATOR_LOAD_PRELOAD, &loaded, why, sizeof why), ALLOCATOR_UNAVAILABLE);
    assert_string_equal(why, line);
    assert_int_equal(allocator_resolve(&spec, &provenance, why, sizeof why), ALLOCATOR_UNAVAILABLE);
    assert_string_equal(why, line);
    spec.backend = &own_absent;
    assert_int_equal(allocator_load(&spec, ALLOCATOR_LOAD_DLOPEN, &loaded, why, sizeof why), ALLOCATOR_UNAVAILABLE);
    assert_non_null(strstr(why, "own: libhzbench-absent.so not found from "));

    load_spec("./no/such/library.so");
    assert_int_equal(allocator_load(&spec, ALLOCATOR_LOAD_DLOPEN, &loaded, why, sizeof why), ALLOCATOR_UNAVAILABLE);
    assert_string_equal(why, "./no/such/library.so: no such file or not readable - give the path of a shared library");
    for (size_t i = 0; i < allocator_backend_count; i++) {
        const struct allocator_backend *backend = &allocator_backends[i];
        if (backend->missing_reason != NULL) {
            load_spec(backend->name);
            assert_int_equal(allocator_load(&spec, ALLOCATOR_LOAD_DLOPEN, &loaded, why, sizeof why),
                             ALLOCATOR_UNAVAILABLE);
            assert_non_null(strstr(why, backend->missing_reason));
        }
    }
}

static void not_a_library_is_refused(void **state) {
    (void)state;
    load_spec("/proc/self/status");
    assert_int_equal(allocator_load(&spec, ALLOCATOR_LOAD_DLOPEN, &loaded, why, sizeof why), ALLOCATOR_UNAVAILABLE);
    assert_non_null(strstr(why, "/proc/self/status does not load: "));
    assert_int_equal(allocator_resolve(&spec, &provenance, why, sizeof why), ALLOCATOR_UNAVAILABLE);
    assert_string_equal(why, "/proc/self/status: not a shared library for this machine - give another file");
}

static void library_without_malloc_is_not_measured(void **state) {
    (void)state;
    load_library_spec("TEST_NO_MALLOC");
    assert_int_equal(allocator_load(&spec, ALLOCATOR_LOAD_DLOPEN, &loaded, why, sizeof why), ALLOCATOR_UNAVAILABLE);
    char line[700];
    snprintf(line, sizeof line, "%s: loaded but malloc still resolves to libc.so.6 - not measuring libc as '%s'",
             spec.path, spec.name);
    assert_string_equal(why, line);

    load_library_spec("TEST_LONELY");
    assert_int_equal(allocator_load(&spec, ALLOCATOR_LOAD_DLOPEN, &loaded, why, sizeof why), ALLOCATOR_UNAVAILABLE);
    assert_non_null(strstr(why, "loaded but exports no malloc and no hzbench_allocator - not an allocator"));
}

static void table_with_a_foreign_function_is_refused(void **state) {
    (void)state;
    load_library_spec("TEST_FOREIGN_FREE");
    assert_int_equal(allocator_load(&spec, ALLOCATOR_LOAD_DLOPEN, &loaded, why, sizeof why), ALLOCATOR_UNAVAILABLE);
    assert_non_null(strstr(why, "bad table: free lies in libc.so.6 - not measuring it as"));
}

static void malformed_contract_is_refused(void **state) {
    (void)state;
    load_library_spec("TEST_BAD_CONTRACT");
    assert_int_equal(allocator_load(&spec, ALLOCATOR_LOAD_DLOPEN, &loaded, why, sizeof why), ALLOCATOR_UNAVAILABLE);
    assert_non_null(strstr(why, "its contract record is malformed"));
}

static void forbidden_build_is_refused(void **state) {
    (void)state;
    load_library_spec("TEST_FORBIDDEN_CONTRACT");
    assert_int_equal(allocator_load(&spec, ALLOCATOR_LOAD_DLOPEN, &loaded, why, sizeof why), ALLOCATOR_UNAVAILABLE);
    assert_non_null(strstr(why, "its contract record forbids measuring it: it carries a sanitizer"));
}

static void missing_functions_are_absent_not_borrowed(void **state) {
    (void)state;
    load_library_spec("TEST_PARTIAL");
    assert_int_equal(allocator_load(&spec, ALLOCATOR_LOAD_DLOPEN, &loaded, why, sizeof why), ALLOCATOR_LOADED);
    const struct allocator *table = &loaded.table;
    assert_int_equal(table->capabilities, ALLOCATOR_STORES);
    assert_null(table->alloc_aligned(64, 64)); // libc's would serve it
    unsigned char *zeroed = table->calloc(10, 10);
    char path[OS_PATH_BYTES];
    assert_non_null(zeroed);
    assert_int_equal(os_library_path_of(zeroed, path, sizeof path), 1); // in the library's own static arena
    assert_true(os_library_same_file(path, spec.path));
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(zeroed[i], 0);
    assert_int_equal(table->usable_size(zeroed), 0);
    assert_true(os_library_same_file(loaded.provenance.path, spec.path));
    assert_string_equal(table->name, spec.name);
}

// First line that a shell command prints.
static void first_line(const char *command, char *line, size_t line_bytes) {
    line[0] = '\0';
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    if (fgets(line, (int)line_bytes, pipe) != NULL)
        line[strcspn(line, "\n")] = '\0';
    while (fgetc(pipe) != EOF) { // the rest, so that the command does not die of a closed pipe
    }
    pclose(pipe);
}

static void proof_agrees_with_the_tools(const char *text) {
    char command[1200];
    char line[256];
    load_spec(text);
    assert_int_equal(allocator_resolve(&spec, &provenance, why, sizeof why), ALLOCATOR_LOADED);
    snprintf(command, sizeof command, "readelf -n '%s' | sed -n 's/.*Build ID: //p'", provenance.path);
    first_line(command, line, sizeof line);
    assert_int_equal(strlen(line), 40);
    assert_string_equal(provenance.build_id, line);
    snprintf(command, sizeof command, "sha256sum '%s' | cut -d' ' -f1", provenance.path);
    first_line(command, line, sizeof line);
    assert_int_equal(strlen(line), 64);
    assert_string_equal(provenance.sha256, line);

    assert_int_equal(allocator_load(&spec, ALLOCATOR_LOAD_DLOPEN, &loaded, why, sizeof why), ALLOCATOR_LOADED);
    assert_string_equal(loaded.provenance.path, provenance.path);
    assert_string_equal(loaded.provenance.build_id, provenance.build_id);
    assert_string_not_equal(loaded.provenance.version, "");
}

static void provenance_agrees_with_the_tools(void **state) {
    (void)state;
    proof_agrees_with_the_tools("null");
    proof_agrees_with_the_tools("system");
    proof_agrees_with_the_tools("hz5");
    assert_string_not_equal(loaded.provenance.contract, "");
    proof_agrees_with_the_tools(getenv("TEST_PARTIAL"));
}

// Whatever the machine has of the foreign ones is found by our own lookup where the system's finds it.
static void lookup_agrees_with_the_system(void **state) {
    (void)state;
    char path[OS_PATH_BYTES];
    char other[OS_PATH_BYTES];
    size_t found = 0;
    for (size_t i = 0; i < allocator_backend_count; i++) {
        const struct allocator_backend *backend = &allocator_backends[i];
        if (backend->debian_package == NULL)
            continue;
        void *handle = os_library_open(backend->library, why, sizeof why);
        assert_int_equal(os_library_find(backend->library, path, sizeof path), handle != NULL);
        if (handle != NULL) {
            assert_int_equal(os_library_path(handle, other, sizeof other), 1);
            assert_string_equal(path, other);
            found++;
        }
    }
    assert_true(found >= 1); // libc at least
    assert_int_equal(os_library_find("libhzbench-absent.so.9", path, sizeof path), 0);
    assert_string_equal(path, "");
}

static void options_reach_the_backend(void **state) {
    (void)state;
    load_spec("hz5{reject=count}");
    assert_int_equal(allocator_load(&spec, ALLOCATOR_LOAD_DLOPEN, &loaded, why, sizeof why), ALLOCATOR_LOADED);
    assert_string_equal(getenv(spec.backend->options_env), "reject=count");
}

static void tunables_are_the_ones_of_the_header(void **state) {
    (void)state;
    assert_non_null(getenv(ALLOCATOR_TUNABLES_ENV));
    assert_string_equal(getenv(ALLOCATOR_TUNABLES_ENV), ALLOCATOR_TUNABLES);
}

// What this program prints when it is started anew with `environment` to load `text` as preloaded.
static void preload_line(const char *environment, const char *text, char *line, size_t line_bytes) {
    char self[OS_PATH_BYTES];
    char command[2400];
    assert_int_equal(os_library_real_path("/proc/self/exe", self, sizeof self), 1);
    snprintf(command, sizeof command, "env %s '%s' --load preload '%s' 2>&1", environment, self, text);
    first_line(command, line, line_bytes);
}

static void preload_is_proved(void **state) {
    (void)state;
    char environment[1200];
    char line[1200];
    char path[OS_PATH_BYTES];
    load_spec("hz5");
    assert_int_equal(allocator_find(&spec, path, sizeof path, why, sizeof why), ALLOCATOR_LOADED);
    snprintf(environment, sizeof environment, "-u HZ5_OPTIONS LD_PRELOAD='%s'", path);
    preload_line(environment, "hz5", line, sizeof line);
    assert_string_equal(line, "0 ");
    preload_line(environment, "hz5{reject=count}", line, sizeof line);
    assert_string_equal(line, "2 hz5: preloaded without its options - start the process with HZ5_OPTIONS=reject=count");
    preload_line(environment, "system", line, sizeof line); // another allocator has the process
    assert_string_equal(line, "2 system: preloaded but malloc still resolves to libhz5.so - not measuring libhz5.so as "
                              "'system'");
    snprintf(environment, sizeof environment, "HZ5_OPTIONS=reject=count LD_PRELOAD='%s'", path);
    preload_line(environment, "hz5{reject=count}", line, sizeof line);
    assert_string_equal(line, "0 ");

    preload_line("-u LD_PRELOAD", "hz5", line, sizeof line);
    assert_non_null(strstr(line, "2 hz5: libhz5.so is not preloaded, malloc resolves to libc.so.6 - "
                                 "start the process with LD_PRELOAD=/"));

    const char *no_malloc = getenv("TEST_NO_MALLOC");
    snprintf(environment, sizeof environment, "LD_PRELOAD='%s'", no_malloc);
    preload_line(environment, no_malloc, line, sizeof line);
    char expected[1300];
    snprintf(expected, sizeof expected,
             "2 %s: preloaded but malloc still resolves to libc.so.6 - not measuring libc as '%s'", no_malloc,
             strrchr(no_malloc, '/') + 1);
    assert_string_equal(line, expected);

    load_spec("null");
    assert_int_equal(allocator_find(&spec, path, sizeof path, why, sizeof why), ALLOCATOR_LOADED);
    snprintf(environment, sizeof environment, "LD_PRELOAD='%s'", path);
    preload_line(environment, "null", line, sizeof line);
    assert_string_equal(line, "2 null: cannot be preloaded, it exports a table but no malloc - use --load=dlopen");
}

static int load_and_print(const char *mode, const char *text) {
    enum allocator_load_result result = allocator_spec_parse(text, &spec, why, sizeof why);
    if (result == ALLOCATOR_LOADED) {
        result = allocator_load(&spec, strcmp(mode, "preload") == 0 ? ALLOCATOR_LOAD_PRELOAD : ALLOCATOR_LOAD_DLOPEN,
                                &loaded, why, sizeof why);
    }
    printf("%d %s\n", (int)result, result == ALLOCATOR_LOADED ? "" : why);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "--load") == 0)
        return load_and_print(argv[2], argv[3]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spec_parses_names_options_and_paths),
        cmocka_unit_test(spec_refuses_nonsense_with_one_line),
        cmocka_unit_test(did_you_mean_knows_its_distance),
        cmocka_unit_test(reject_names_are_complete),
        cmocka_unit_test(check_rejects_each_bad_table),
        cmocka_unit_test(complete_fills_in_the_documented_fallbacks),
        cmocka_unit_test(missing_library_names_its_package),
        cmocka_unit_test(not_a_library_is_refused),
        cmocka_unit_test(library_without_malloc_is_not_measured),
        cmocka_unit_test(table_with_a_foreign_function_is_refused),
        cmocka_unit_test(malformed_contract_is_refused),
        cmocka_unit_test(forbidden_build_is_refused),
        cmocka_unit_test(missing_functions_are_absent_not_borrowed),
        cmocka_unit_test(provenance_agrees_with_the_tools),
        cmocka_unit_test(lookup_agrees_with_the_system),
        cmocka_unit_test(options_reach_the_backend),
        cmocka_unit_test(tunables_are_the_ones_of_the_header),
        cmocka_unit_test(preload_is_proved),
    };
    return cmocka_run_group_tests_name("loader", tests, NULL, NULL);
}
