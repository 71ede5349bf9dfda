// SPDX-License-Identifier: Apache-2.0
// The loader's policy: what a spec means, what makes a table sound, and which functions have to lie where before a
// number may carry a backend's name. Owns nothing but the fallbacks. Layer: above os_library.h and the generated list.
#include "loader.h"

#include "../external/external.h"
#include "edit_distance.h"
#include "os_library.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONTRACT_BYTES_MAX 4096 // no record is longer; anything else is not a record

const char *const allocator_reject_names[ALLOCATOR_REJECT_COUNT] = {
    [ALLOCATOR_REJECT_FOREIGN] = "foreign",
    [ALLOCATOR_REJECT_UNMAPPED] = "unmapped",
    [ALLOCATOR_REJECT_INTERIOR] = "interior",
    [ALLOCATOR_REJECT_MISALIGNED] = "misaligned",
    [ALLOCATOR_REJECT_DOUBLE_FREE] = "double_free",
    [ALLOCATOR_REJECT_DOUBLE_FREE_REMOTE] = "double_free_remote",
    [ALLOCATOR_REJECT_STALE_RUN] = "stale_run",
    [ALLOCATOR_REJECT_OWNER] = "owner",
    [ALLOCATOR_REJECT_SIZE_MISMATCH] = "size_mismatch",
    [ALLOCATOR_REJECT_CORRUPT] = "corrupt",
    [ALLOCATOR_REJECT_OVERFLOW] = "overflow",
    [ALLOCATOR_REJECT_WRITE_AFTER_FREE] = "write_after_free",
    [ALLOCATOR_REJECT_KIND] = "kind_mismatch",
};

// The members of a table that are functions, and the C library names a foreign library serves them under.
struct member {
    const char *name;
    size_t offset;
    const char *symbols[3]; // in order of preference
    int is_required;        // of a foreign library
};

static const struct member members[] = {
    {"alloc", offsetof(struct allocator, alloc), {"malloc"}, 1},
    {"free", offsetof(struct allocator, free), {"free"}, 1},
    {"realloc", offsetof(struct allocator, realloc), {"realloc"}, 1},
    {"calloc", offsetof(struct allocator, calloc), {"calloc"}, 0},
    // memalign first: aligned_alloc may insist on sizes that are multiples of the alignment.
    {"alloc_aligned", offsetof(struct allocator, alloc_aligned), {"memalign", "aligned_alloc"}, 0},
    {"usable_size", offsetof(struct allocator, usable_size), {"malloc_usable_size"}, 0},
    {"owns", offsetof(struct allocator, owns), {NULL}, 0},
    {"verify", offsetof(struct allocator, verify), {NULL}, 0},
    {"thread_fini", offsetof(struct allocator, thread_fini), {NULL}, 0},
    {"stats", offsetof(struct allocator, stats), {NULL}, 0},
    {"purge", offsetof(struct allocator, purge), {NULL}, 0},
    {"version", offsetof(struct allocator, version), {NULL}, 0},
};

#define MEMBER_COUNT (sizeof members / sizeof members[0])

// Function pointers travel as bytes: ISO C has no cast between them and data pointers.
static void *member_get(const struct allocator *table, const struct member *member) {
    void *address;
    memcpy(&address, (const char *)table + member->offset, sizeof address);
    return address;
}

static void member_set(struct allocator *table, const struct member *member, void *address) {
    memcpy((char *)table + member->offset, &address, sizeof address);
}

__attribute__((format(printf, 4, 5))) static enum allocator_load_result
refuse(enum allocator_load_result result, char *why, size_t why_bytes, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, why_bytes, format, arguments);
    va_end(arguments);
    return result;
}

static const char *file_name_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

const char *allocator_did_you_mean(const char *name) {
    const char *closest = NULL;
    unsigned closest_distance = EDIT_DISTANCE_SLIP + 1;
    for (size_t i = 0; i < allocator_backend_count; i++) {
        const char *candidate = allocator_backends[i].name;
        const unsigned distance = edit_distance(name, candidate);
        // A distance as long as the word would make any short word "close".
        if (distance < closest_distance && distance < strlen(candidate)) {
            closest = candidate;
            closest_distance = distance;
        }
    }
    return closest;
}

static const struct allocator_backend *backend_named(const char *name) {
    for (size_t i = 0; i < allocator_backend_count; i++)
        if (strcmp(allocator_backends[i].name, name) == 0)
            return &allocator_backends[i];
    return NULL;
}

static enum allocator_load_result unknown_backend(const char *name, char *why, size_t why_bytes) {
    const char *closest = allocator_did_you_mean(name);
    if (closest != NULL) {
        return refuse(ALLOCATOR_UNKNOWN, why, why_bytes,
                      "unknown allocator '%s' - did you mean '%s'? (--list-allocators)", name, closest);
    }
    if (strstr(name, ".so") != NULL) {
        return refuse(ALLOCATOR_UNKNOWN, why, why_bytes,
                      "unknown allocator '%s' - for a library file write ./%s (--list-allocators)", name, name);
    }
    return refuse(ALLOCATOR_UNKNOWN, why, why_bytes,
                  "unknown allocator '%s' - use a name from --list-allocators or the path of a library", name);
}

// A spec's parts, still in its text.
struct spec_parts {
    size_t length;
    size_t head; // characters in front of the options
    int has_options, is_path;
    const char *name, *options;
    size_t name_length, options_length;
};

static enum allocator_load_result spec_split(const char *text, struct spec_parts *out, char *why, size_t why_bytes) {
    size_t length = strlen(text);
    size_t head = strcspn(text, "{");
    int has_options = text[head] == '{';
    size_t tail = has_options ? head + 1 : length; // first option character
    if (head == 0) {
        return refuse(ALLOCATOR_UNKNOWN, why, why_bytes,
                      "'%s' names no allocator - use a name from --list-allocators or the path of a library", text);
    }
    if (has_options && (text[length - 1] != '}' || strcspn(text + tail, "{}") != length - 1 - tail)) {
        return refuse(ALLOCATOR_UNKNOWN, why, why_bytes,
                      "allocator '%s': options end with the one '}' at the end - write name{key=value}", text);
    }
    const char *name = text;
    for (size_t i = 0; i < head; i++)
        if (text[i] == '/')
            name = text + i + 1;
    *out = (struct spec_parts){.length = length,
                               .head = head,
                               .has_options = has_options,
                               .is_path = memchr(text, '/', head) != NULL,
                               .name = name,
                               .options = text + tail,
                               .name_length = head - (size_t)(name - text),
                               .options_length = has_options ? length - 1 - tail : 0};
    return ALLOCATOR_LOADED;
}

static enum allocator_load_result spec_copy(const char *text, const struct spec_parts *parts,
                                            struct allocator_spec *out, char *why, size_t why_bytes) {
    if (parts->length >= sizeof out->text || parts->head >= sizeof out->path ||
        parts->name_length >= sizeof out->name || parts->options_length >= sizeof out->options) {
        return refuse(ALLOCATOR_UNKNOWN, why, why_bytes,
                      "allocator '%.40s...' is too long - at most %zu characters, name %zu, options %zu", text,
                      sizeof out->text - 1, sizeof out->name - 1, sizeof out->options - 1);
    }
    if (parts->name_length == 0) {
        return refuse(ALLOCATOR_UNKNOWN, why, why_bytes, "'%s' is a directory - give the path of a shared library",
                      text);
    }
    memcpy(out->text, text, parts->length);
    memcpy(out->label, text, parts->length);
    memcpy(out->name, parts->name, parts->name_length);
    memcpy(out->options, parts->options, parts->options_length);
    if (parts->is_path)
        memcpy(out->path, text, parts->head);
    return ALLOCATOR_LOADED;
}

enum allocator_load_result allocator_spec_parse(const char *text, struct allocator_spec *out, char *why,
                                                size_t why_bytes) {
    memset(out, 0, sizeof *out);
    struct spec_parts parts = {0};
    enum allocator_load_result result = spec_split(text, &parts, why, why_bytes);
    if (result == ALLOCATOR_LOADED)
        result = spec_copy(text, &parts, out, why, why_bytes);
    if (result != ALLOCATOR_LOADED)
        return result;
    if (parts.is_path) {
        return !parts.has_options ? ALLOCATOR_LOADED
                                  : refuse(ALLOCATOR_UNKNOWN, why, why_bytes,
                                           "allocator '%s': a library given by its path takes no options - set its own "
                                           "environment variable instead",
                                           text);
    }
    out->backend = backend_named(out->name);
    if (out->backend == NULL)
        return unknown_backend(out->name, why, why_bytes);
    if (parts.has_options && out->backend->options_env == NULL) {
        return refuse(ALLOCATOR_UNKNOWN, why, why_bytes, "allocator '%s' takes no options - write '%s'", out->name,
                      out->name);
    }
    return ALLOCATOR_LOADED;
}

void allocator_options_text(const struct allocator_spec *spec, char out[ALLOCATOR_OPTIONS_BYTES]) {
    const char *prefix = spec->options[0] != '\0' ? spec->backend->options_prefix : NULL;
    snprintf(out, ALLOCATOR_OPTIONS_BYTES, "%s%s", prefix != NULL ? prefix : "", spec->options);
}

static int is_own(const struct allocator_backend *backend) {
    return backend->debian_package == NULL;
}

enum allocator_load_result allocator_find(const struct allocator_spec *spec, char *path, size_t path_bytes, char *why,
                                          size_t why_bytes) {
    const struct allocator_backend *backend = spec->backend;
    path[0] = '\0';
    if (backend == NULL) {
        if (!os_library_is_file(spec->path)) {
            return refuse(ALLOCATOR_UNAVAILABLE, why, why_bytes,
                          "%s: no such file or not readable - give the path of a shared library", spec->path);
        }
        int length = snprintf(path, path_bytes, "%s", spec->path);
        if (length < 0 || (size_t)length >= path_bytes)
            return refuse(ALLOCATOR_UNAVAILABLE, why, why_bytes, "%s: path too long - use a shorter one", spec->path);
        return ALLOCATOR_LOADED;
    }
    if (backend->missing_reason != NULL)
        return refuse(ALLOCATOR_UNAVAILABLE, why, why_bytes, "%s: %s", backend->name, backend->missing_reason);
    if (!is_own(backend)) {
        if (os_library_find(backend->library, path, path_bytes))
            return ALLOCATOR_LOADED;
        return refuse(ALLOCATOR_UNAVAILABLE, why, why_bytes, "%s: %s not found. Debian: apt-get install %s",
                      backend->name, backend->library, backend->debian_package);
    }
    if (os_library_find_own(backend->name, backend->library, path, path_bytes))
        return ALLOCATOR_LOADED;
    char directory[OS_PATH_BYTES];
    os_library_executable_directory(directory, sizeof directory);
    return refuse(ALLOCATOR_UNAVAILABLE, why, why_bytes,
                  "%s: %s not found from %s upwards - build everything (ninja -C BUILD) or install", backend->name,
                  backend->library, directory);
}

// What an error line calls a backend: its name, or a library's path as it was given.
static const char *label_of(const struct allocator_spec *spec) {
    return spec->backend != NULL ? spec->backend->name : spec->path;
}

static enum allocator_load_result refuse_library(const struct allocator_spec *spec, const char *library,
                                                 const char *reason, char *why, size_t why_bytes) {
    const char *hint = "";
    if (strstr(reason, "static TLS") != NULL)
        hint = " - start with " ALLOCATOR_TUNABLES_ENV "=" ALLOCATOR_TUNABLES;
    return refuse(ALLOCATOR_UNAVAILABLE, why, why_bytes, "%s: %s does not load: %s%s", label_of(spec), library, reason,
                  hint);
}

// The one line that keeps numbers of the C library from being published under another name.
static enum allocator_load_result refuse_fallback(const struct allocator_spec *spec, const char *verb,
                                                  const char *symbol, const void *address, char *why,
                                                  size_t why_bytes) {
    char path[OS_PATH_BYTES];
    if (!os_library_path_of(address, path, sizeof path)) {
        return refuse(ALLOCATOR_UNAVAILABLE, why, why_bytes,
                      "%s: %s but exports no %s and no " ALLOCATOR_TABLE_SYMBOL
                      " - not an allocator, give another library",
                      label_of(spec), verb, symbol);
    }
    const char *file = file_name_of(path);
    return refuse(ALLOCATOR_UNAVAILABLE, why, why_bytes,
                  "%s: %s but %s still resolves to %s - not measuring %s as '%s'", label_of(spec), verb, symbol, file,
                  strncmp(file, "libc.so", 7) == 0 ? "libc" : file, spec->name);
}

// Takes the malloc family out of the object itself. With `global`, what the process binds must be the object's, too.
static enum allocator_load_result take_family(const struct allocator_spec *spec, void *handle, int global,
                                              struct allocator *table, char *why, size_t why_bytes) {
    for (size_t i = 0; i < MEMBER_COUNT; i++) {
        const struct member *member = &members[i];
        void *address = NULL;
        for (size_t j = 0; address == NULL && member->symbols[j] != NULL; j++) {
            address = os_library_symbol(handle, member->symbols[j]);
            if (address != NULL && global && os_library_symbol_anywhere(NULL, member->symbols[j]) != address)
                address = NULL; // the process would call another object's
        }
        if (address == NULL && member->is_required) {
            return refuse_fallback(spec, global ? "preloaded" : "loaded", member->symbols[0],
                                   os_library_symbol_anywhere(global ? NULL : handle, member->symbols[0]), why,
                                   why_bytes);
        }
        member_set(table, member, address);
    }
    table->capabilities = ALLOCATOR_STORES | (table->alloc_aligned != NULL ? ALLOCATOR_ALIGNED : 0);
    return ALLOCATOR_LOADED;
}

// The table a library exports, with every function proved to lie in it.
static enum allocator_load_result take_table(const struct allocator_spec *spec, void *handle,
                                             const struct allocator *exported, struct allocator *table, char *why,
                                             size_t why_bytes) {
    char reason[160];
    if (!allocator_check(exported, reason, sizeof reason)) {
        return refuse(ALLOCATOR_UNAVAILABLE, why, why_bytes, "%s: bad table: %s - rebuild it against this allocator.h",
                      label_of(spec), reason);
    }
    for (size_t i = 0; i < MEMBER_COUNT; i++) {
        void *address = member_get(exported, &members[i]);
        if (address != NULL && !os_library_holds(handle, address)) {
            char path[OS_PATH_BYTES];
            os_library_path_of(address, path, sizeof path);
            return refuse(ALLOCATOR_UNAVAILABLE, why, why_bytes,
                          "%s: bad table: %s lies in %s - not measuring it as '%s'", label_of(spec), members[i].name,
                          path[0] != '\0' ? file_name_of(path) : "no library", spec->name);
        }
    }
    if (exported->contract != NULL && !os_library_holds(handle, exported->contract)) {
        return refuse(ALLOCATOR_UNAVAILABLE, why, why_bytes,
                      "%s: bad table: contract lies outside the library - point it at a const record", label_of(spec));
    }
    *table = *exported;
    return ALLOCATOR_LOADED;
}

static enum allocator_load_result take_contract(const struct allocator_spec *spec, void *handle,
                                                const struct allocator *table, char *text, size_t text_bytes, char *why,
                                                size_t why_bytes) {
    const struct allocator_contract *contract = table->contract;
    text[0] = '\0';
    if (contract == NULL)
        return ALLOCATOR_LOADED;
    void *writer;
    memcpy(&writer, &contract->text, sizeof writer);
    if (contract->version == 0 || contract->struct_bytes < sizeof *contract ||
        contract->struct_bytes > CONTRACT_BYTES_MAX || !os_library_holds(handle, writer)) {
        return refuse(ALLOCATOR_UNAVAILABLE, why, why_bytes,
                      "%s: its contract record is malformed - begin it as struct allocator_contract says",
                      label_of(spec));
    }
    if (contract->forbidden != 0) {
        return refuse(
            ALLOCATOR_UNAVAILABLE, why, why_bytes,
            "%s: its contract record forbids measuring it: %s - build it with optimisation and without sanitizers",
            label_of(spec),
            contract->forbidden & ALLOCATOR_FORBIDDEN_SANITIZER     ? "it carries a sanitizer"
            : contract->forbidden & ALLOCATOR_FORBIDDEN_UNOPTIMISED ? "it is not optimised"
                                                                    : "a reason this runner does not know");
    }
    int length = snprintf(text, text_bytes, "%s", contract->text());
    if (length < 0 || (size_t)length >= text_bytes || strchr(text, '\n') != NULL) {
        return refuse(ALLOCATOR_UNAVAILABLE, why, why_bytes,
                      "%s: its contract text is not one line of at most %zu characters - shorten it", label_of(spec),
                      text_bytes - 1);
    }
    return ALLOCATOR_LOADED;
}

static enum allocator_load_result load_preloaded(const struct allocator_spec *spec, void **handle,
                                                 struct allocator *table, char *why, size_t why_bytes) {
    char path[OS_PATH_BYTES];
    enum allocator_load_result result = allocator_find(spec, path, sizeof path, why, why_bytes);
    if (result != ALLOCATOR_LOADED)
        return result;
    *handle = os_library_loaded(path);
    void *bound = os_library_symbol_anywhere(NULL, "malloc");
    if (*handle == NULL) {
        char other[OS_PATH_BYTES];
        os_library_path_of(bound, other, sizeof other);
        return refuse(ALLOCATOR_UNAVAILABLE, why, why_bytes,
                      "%s: %s is not preloaded, malloc resolves to %s - start the process with LD_PRELOAD=%s",
                      label_of(spec), file_name_of(path), file_name_of(other), path);
    }
    const struct allocator *exported = os_library_symbol(*handle, ALLOCATOR_TABLE_SYMBOL);
    if (exported != NULL && os_library_symbol(*handle, "malloc") == NULL) {
        return refuse(ALLOCATOR_UNAVAILABLE, why, why_bytes,
                      "%s: cannot be preloaded, it exports a table but no malloc - use --load=dlopen", label_of(spec));
    }
    if (spec->options[0] != '\0') {
        const char *active = getenv(spec->backend->options_env);
        char options[ALLOCATOR_OPTIONS_BYTES];
        allocator_options_text(spec, options);
        if (active == NULL || strcmp(active, options) != 0) {
            return refuse(ALLOCATOR_UNAVAILABLE, why, why_bytes,
                          "%s: preloaded without its options - start the process with %s=%s", label_of(spec),
                          spec->backend->options_env, options);
        }
    }
    struct allocator family = {0};
    result = take_family(spec, *handle, 1, &family, why, why_bytes);
    if (result == ALLOCATOR_LOADED && exported != NULL)
        result = take_table(spec, *handle, exported, table, why, why_bytes);
    // What the table alone knows stays; what a preloaded program would call comes from the process.
    for (size_t i = 0; i < MEMBER_COUNT; i++)
        if (exported == NULL || members[i].symbols[0] != NULL)
            member_set(table, &members[i], member_get(&family, &members[i]));
    if (exported == NULL)
        table->capabilities = family.capabilities;
    else if (table->alloc_aligned == NULL)
        table->capabilities &= ~(uint64_t)ALLOCATOR_ALIGNED;
    return result;
}

static enum allocator_load_result load_opened(const struct allocator_spec *spec, void **handle, struct allocator *table,
                                              char *why, size_t why_bytes) {
    char path[OS_PATH_BYTES] = "";
    char reason[256];
    const struct allocator_backend *backend = spec->backend;
    int by_soname = backend != NULL && backend->missing_reason == NULL && !is_own(backend);
    enum allocator_load_result result = ALLOCATOR_LOADED;
    if (!by_soname) {
        result = allocator_find(spec, path, sizeof path, why, why_bytes);
        if (result != ALLOCATOR_LOADED)
            return result;
    }
    if (spec->options[0] != '\0') {
        char options[ALLOCATOR_OPTIONS_BYTES];
        allocator_options_text(spec, options);
        os_environment_set(backend->options_env, options);
    }
    // A soname is left to the system's own lookup; allocator_find() only imitates it.
    const char *library = by_soname ? backend->library : path;
    *handle = os_library_open(library, reason, sizeof reason);
    if (*handle == NULL) {
        result = by_soname ? allocator_find(spec, path, sizeof path, why, why_bytes) : ALLOCATOR_LOADED;
        return result != ALLOCATOR_LOADED ? result : refuse_library(spec, library, reason, why, why_bytes);
    }
    char loaded[OS_PATH_BYTES];
    if (!by_soname && (!os_library_path(*handle, loaded, sizeof loaded) || !os_library_same_file(loaded, path))) {
        return refuse(ALLOCATOR_UNAVAILABLE, why, why_bytes,
                      "%s: asked for %s, the system loaded %s - unload or rename one of them", label_of(spec), path,
                      loaded);
    }
    const struct allocator *exported = os_library_symbol(*handle, ALLOCATOR_TABLE_SYMBOL);
    return exported != NULL ? take_table(spec, *handle, exported, table, why, why_bytes)
                            : take_family(spec, *handle, 0, table, why, why_bytes);
}

enum allocator_load_result allocator_load(const struct allocator_spec *spec, enum allocator_load_mode mode,
                                          struct loaded_allocator *out, char *why, size_t why_bytes) {
    memset(out, 0, sizeof *out);
    struct allocator *table = &out->table;
    struct allocator_provenance *provenance = &out->provenance;
    void *handle = NULL;
    enum allocator_load_result result = mode == ALLOCATOR_LOAD_PRELOAD
                                            ? load_preloaded(spec, &handle, table, why, why_bytes)
                                            : load_opened(spec, &handle, table, why, why_bytes);
    if (result != ALLOCATOR_LOADED)
        return result;
    if (table->abi_version == 0) { // a malloc family has no head of its own
        table->abi_version = ALLOCATOR_ABI_VERSION;
        table->struct_bytes = sizeof *table;
        table->name = spec->name;
        table->summary = spec->backend != NULL ? spec->backend->summary : "library given by its path";
    }
    if (spec->backend != NULL && spec->backend->adapt != NULL)
        spec->backend->adapt(table, &(struct external_library){handle, os_library_symbol});
    char reason[160];
    if (!allocator_check(table, reason, sizeof reason)) {
        return refuse(ALLOCATOR_UNAVAILABLE, why, why_bytes, "%s: bad table: %s - correct the library or its adapter",
                      label_of(spec), reason);
    }
    result = take_contract(spec, handle, table, provenance->contract, sizeof provenance->contract, why, why_bytes);
    if (result != ALLOCATOR_LOADED)
        return result;
    allocator_complete(table);
    void *alloc = member_get(table, &members[0]);
    os_library_path_of(alloc, provenance->path, sizeof provenance->path);
    os_library_build_id(handle, provenance->build_id);
    snprintf(provenance->version, sizeof provenance->version, "%s", table->version());
    return ALLOCATOR_LOADED;
}

// A promise and the function that has to keep it.
struct promise {
    uint64_t capability;
    const char *capability_name;
    const char *member_name;
};

static const struct promise promises[] = {
    {ALLOCATOR_STORES, "STORES", "realloc"},
    {ALLOCATOR_OWNS_EXACT, "OWNS_EXACT", "owns"},
    {ALLOCATOR_FAIL_CLOSED, "FAIL_CLOSED", "stats"}, // the refusals are counted there
    {ALLOCATOR_PURGE, "PURGE", "purge"},
    {ALLOCATOR_STATS, "STATS", "stats"},
    {ALLOCATOR_ALIGNED, "ALIGNED", "alloc_aligned"},
    {ALLOCATOR_VERIFY, "VERIFY", "verify"},
};

#define PROMISE_COUNT (sizeof promises / sizeof promises[0])

static int has_member(const struct allocator *table, const char *name) {
    for (size_t i = 0; i < MEMBER_COUNT; i++)
        if (strcmp(members[i].name, name) == 0)
            return member_get(table, &members[i]) != NULL;
    return 0;
}

__attribute__((format(printf, 3, 4))) static int fails(char *why, size_t why_bytes, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, why_bytes, format, arguments);
    va_end(arguments);
    return 0;
}

int allocator_check(const struct allocator *table, char *why, size_t why_bytes) {
    // Version and size first: only they are sure to lie where this header says.
    if (table->abi_version != ALLOCATOR_ABI_VERSION)
        return fails(why, why_bytes, "abi_version is %u, not %u", table->abi_version, ALLOCATOR_ABI_VERSION);
    if (table->struct_bytes != sizeof *table)
        return fails(why, why_bytes, "struct_bytes is %u, not %zu", table->struct_bytes, sizeof *table);
    if (table->name == NULL || table->name[0] == '\0')
        return fails(why, why_bytes, "it has no name");
    if (table->summary == NULL || table->summary[0] == '\0' || strchr(table->summary, '\n') != NULL)
        return fails(why, why_bytes, "its summary is not one line");
    if (table->alloc == NULL)
        return fails(why, why_bytes, "required member alloc is NULL");
    if (table->free == NULL)
        return fails(why, why_bytes, "required member free is NULL");
    uint64_t known = 0;
    for (size_t i = 0; i < PROMISE_COUNT; i++) {
        const struct promise *promise = &promises[i];
        known |= promise->capability;
        if ((table->capabilities & promise->capability) != 0 && !has_member(table, promise->member_name)) {
            return fails(why, why_bytes, "capability %s needs member %s, which is NULL", promise->capability_name,
                         promise->member_name);
        }
    }
    if ((table->capabilities & ~known) != 0) {
        return fails(why, why_bytes, "capabilities has unknown bits 0x%llx",
                     (unsigned long long)(table->capabilities & ~known));
    }
    if ((table->capabilities & ALLOCATOR_FAIL_CLOSED) != 0 && (table->capabilities & ALLOCATOR_STATS) == 0)
        return fails(why, why_bytes, "capability FAIL_CLOSED needs STATS to show its counts");
    return 1;
}

static void *(*fallback_alloc)(size_t bytes); // of the table completed last

static void *fallback_alloc_aligned(size_t alignment, size_t bytes) {
    (void)alignment;
    (void)bytes;
    errno = ENOMEM;
    return NULL;
}

static void *fallback_calloc(size_t count, size_t bytes) {
    size_t total;
    if (__builtin_mul_overflow(count, bytes, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    void *block = fallback_alloc(total);
    return block != NULL ? memset(block, 0, total) : NULL;
}

static void *fallback_realloc(void *block, size_t bytes) {
    (void)block;
    (void)bytes;
    errno = ENOMEM;
    return NULL;
}

static size_t fallback_usable_size(void *block) {
    (void)block;
    return 0;
}

static int fallback_owns(const void *block) {
    (void)block;
    return -1;
}

static int fallback_verify(void) {
    return 0;
}

static void fallback_nothing(void) {
}

static void fallback_stats(struct allocator_stats *out) {
    memset(out, 0, sizeof *out);
}

static const char *fallback_version(void) {
    return "unknown";
}

void allocator_complete(struct allocator *table) {
    fallback_alloc = table->alloc;
    table->alloc_aligned = table->alloc_aligned != NULL ? table->alloc_aligned : fallback_alloc_aligned;
    table->calloc = table->calloc != NULL ? table->calloc : fallback_calloc;
    table->realloc = table->realloc != NULL ? table->realloc : fallback_realloc;
    table->usable_size = table->usable_size != NULL ? table->usable_size : fallback_usable_size;
    table->owns = table->owns != NULL ? table->owns : fallback_owns;
    table->verify = table->verify != NULL ? table->verify : fallback_verify;
    table->thread_fini = table->thread_fini != NULL ? table->thread_fini : fallback_nothing;
    table->stats = table->stats != NULL ? table->stats : fallback_stats;
    table->purge = table->purge != NULL ? table->purge : fallback_nothing;
    table->version = table->version != NULL ? table->version : fallback_version;
}
