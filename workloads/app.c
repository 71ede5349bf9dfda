// SPDX-License-Identifier: Apache-2.0
// `app:NAME`: a real program under the allocator, such as a server under its own benchmark (workloads/apps). It does
// not run in the worker: the runner starts hzbench-app instead. Layer: workloads.
#include "app_table.h"
#include "registry.h"

#include <stdio.h>
#include <string.h>

const struct app *app_find(const char *name) {
    for (const struct app *app = apps; app->name != NULL; app++)
        if (strcmp(app->name, name) == 0)
            return app;
    return NULL;
}

static int complete(struct workload_params *params, char *why, size_t why_bytes) {
    const struct app *app = app_find(params->input);
    if (app == NULL) {
        char names[256] = "";
        size_t at = 0;
        for (app = apps; app->name != NULL && at < sizeof names; app++)
            at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", at != 0 ? ", " : "", app->name);
        return registry_refuse(why, why_bytes, "workload 'app' has no program '%s' - it has %s", params->input, names);
    }
    if (params->threads > app->max_threads) {
        return registry_refuse(why, why_bytes, "workload 'app:%s' has at most %u thread%s (got --threads=%u)",
                               app->name, app->max_threads, app->max_threads == 1 ? "" : "s", params->threads);
    }
    if (params->ops == REGISTRY_UNSET64)
        params->ops = app->ops;
    return 1;
}

const struct workload app_workload = {
    .name = "app",
    .summary = "a real program, such as app:redis (workloads/apps)",
    .source = "the program itself",
    .is_program = 1,
    .min_threads = 1,
    .defaults = {.touch = TOUCH_NONE, .ops = REGISTRY_UNSET64, .min_bytes = 1, .max_bytes = 1},
    .used_params = WORKLOAD_USES_INPUT,
    .complete = complete,
};
