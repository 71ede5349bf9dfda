// SPDX-License-Identifier: Apache-2.0
// Finds a backend by name or path, loads it, proves what was loaded and completes its table.
// Used by the worker, by the contract tests and, for --list-allocators and provenance, by the runner.
#ifndef HZBENCH_LOADER_H
#define HZBENCH_LOADER_H

#include "../allocator.h"

// Static TLS that dlopen may hand out. jemalloc 5.3 needs 2,632 bytes of it, glibc's default is 512; who starts a
// process that is to dlopen a backend puts this line into its environment.
#define ALLOCATOR_TUNABLES_ENV "GLIBC_TUNABLES"
#define ALLOCATOR_TUNABLES "glibc.rtld.optional_static_tls=16384"

struct external_library; // external/external.h

// One line of THE list (allocators/meson.build); backends.c is generated from it.
struct allocator_backend {
    const char *name;
    const char *summary;
    const char *library;        // soname or file beside the executable; NULL: built in or not there yet
    const char *debian_package; // what brings it; NULL for our own
    const char *options_env;    // environment variable that takes the text in name{...}; NULL: takes no options
    const char *options_prefix; // goes before that text: makes the library refuse what it does not know; or NULL
    const char *missing_reason; // why it cannot be used at all yet; NULL when it can
    // adds purge, stats and version to a foreign table; or NULL
    void (*adapt)(struct allocator *table, const struct external_library *library);
};

extern const struct allocator_backend allocator_backends[]; // ends with a NULL name
extern const size_t allocator_backend_count;

enum allocator_load_mode { ALLOCATOR_LOAD_DLOPEN, ALLOCATOR_LOAD_PRELOAD };

// A parsed --alloc item: "hz5", "hz5{profile=rss}", "./libfoo.so".
struct allocator_spec {
    char text[256];                          // as given
    char label[256];                         // what rows and tables call it: the text, unless it was given a name
    char name[64];                           // backend name, or the file name of a path
    char path[512];                          // library to load; empty for a library named by soname until resolved
    char options[128];                       // text between the braces
    const struct allocator_backend *backend; // NULL for a path
};

struct allocator_provenance {
    char path[512];     // resolved, of the object whose malloc is called
    char version[64];   // as the library says
    char build_id[41];  // hex; empty when the object has none
    char sha256[65];    // hex of the file
    char contract[256]; // text form of table.contract; empty when there is none
};

struct loaded_allocator {
    struct allocator table; // complete: no optional member is NULL
    struct allocator_provenance provenance;
};

enum allocator_load_result {
    ALLOCATOR_LOADED = 0,
    ALLOCATOR_UNKNOWN,     // no such name: usage error
    ALLOCATOR_UNAVAILABLE, // missing, unloadable or not what it claims to be: exit 3
};

// Parses `text`; on failure writes one line (what, why, what to do) into `why`.
enum allocator_load_result allocator_spec_parse(const char *text, struct allocator_spec *out, char *why,
                                                size_t why_bytes);

#define ALLOCATOR_OPTIONS_BYTES 256

// What the environment variable of the backend's options has to hold for `spec`; empty without options.
void allocator_options_text(const struct allocator_spec *spec, char out[ALLOCATOR_OPTIONS_BYTES]);

// Path of the library file of `spec`, nothing loaded, nothing read. The file name given to LD_PRELOAD.
enum allocator_load_result allocator_find(const struct allocator_spec *spec, char *path, size_t path_bytes, char *why,
                                          size_t why_bytes);

// Loads into the calling process and verifies that every function of the table lies in the named object. With dlopen
// the options are put into the environment here; for preload who starts the process must have put them there.
// The table's name may point into `spec`, which must live as long.
enum allocator_load_result allocator_load(const struct allocator_spec *spec, enum allocator_load_mode mode,
                                          struct loaded_allocator *out, char *why, size_t why_bytes);

// Resolves the library file of `spec` without loading it (for LD_PRELOAD and provenance). Fills path, sha256 and
// build_id. Lies in an object of its own: only who calls it links the digest's library.
enum allocator_load_result allocator_resolve(const struct allocator_spec *spec, struct allocator_provenance *out,
                                             char *why, size_t why_bytes);

// Rejects a table with a wrong version, size, missing required member or a capability without its function.
// Returns 1 when it is sound; else writes the reason into `why`.
int allocator_check(const struct allocator *table, char *why, size_t why_bytes);

// Fills in the documented fallbacks. The fallback for calloc serves the table completed last: one a process.
void allocator_complete(struct allocator *table);

// Name of the known backend closest to `name` (edit distance <= 2), or NULL.
const char *allocator_did_you_mean(const char *name);

#endif
