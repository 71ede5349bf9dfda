// SPDX-License-Identifier: Apache-2.0
// allocator_resolve(): the identity of a library file nobody has loaded. Apart from loader.c because of the
// digest's library, which the worker process does without.
#include "digest.h"
#include "loader.h"
#include "os_library.h"

#include <stdio.h>
#include <string.h>

_Static_assert(sizeof((struct allocator_provenance *)NULL)->sha256 == DIGEST_BYTES, "hex and end");
_Static_assert(sizeof((struct allocator_provenance *)NULL)->build_id == OS_BUILD_ID_BYTES, "hex and end");

enum allocator_load_result allocator_resolve(const struct allocator_spec *spec, struct allocator_provenance *out,
                                             char *why, size_t why_bytes) {
    memset(out, 0, sizeof *out);
    enum allocator_load_result result = allocator_find(spec, out->path, sizeof out->path, why, why_bytes);
    if (result != ALLOCATOR_LOADED)
        return result;
    if (!os_library_is_loadable(out->path)) {
        snprintf(why, why_bytes, "%s: not a shared library for this machine - give another file", out->path);
        return ALLOCATOR_UNAVAILABLE;
    }
    char real[OS_PATH_BYTES];
    if (os_library_real_path(out->path, real, sizeof real))
        memcpy(out->path, real, sizeof out->path);
    os_library_build_id_of_file(out->path, out->build_id);
    if (!digest_of_file(out->path, out->sha256)) {
        snprintf(why, why_bytes, "%s: cannot be read to its end - check the file and its permissions", out->path);
        return ALLOCATOR_UNAVAILABLE;
    }
    return ALLOCATOR_LOADED;
}
