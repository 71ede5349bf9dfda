// SPDX-License-Identifier: Apache-2.0
// app_tree.h from /proc. The caller is a subreaper: what a daemon leaves behind becomes its child. Layer: runner.
#include "app_tree.h"

#include "shared.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_PROCESSES 1024
#define KILL_ROUNDS 100 // a process that is born while its parent is killed is found in the next

static size_t read_text(const char *path, char *text, size_t bytes) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, bytes - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[got > 0 ? got : 0] = '\0';
    return got > 0 ? (size_t)got : 0;
}

struct tree {
    int pids[MOST_PROCESSES];
    size_t count;
    int except;
    int is_partial; // /proc hides some of it, or there are more than fit
};

// What could not be read of it is hidden, and not over.
static int is_there(int pid) {
    return kill(pid, 0) == 0 || errno == EPERM;
}

static void add_children_of_task(struct tree *tree, int pid, const char *task) {
    char path[64], text[8192];
    snprintf(path, sizeof path, "/proc/%d/task/%.16s/children", pid, task);
    tree->is_partial |= read_text(path, text, sizeof text) == sizeof text - 1;
    for (char *at = text, *end; tree->count < MOST_PROCESSES; at = end) {
        long child = strtol(at, &end, 10);
        if (end == at)
            return;
        if (child != tree->except)
            tree->pids[tree->count++] = (int)child;
    }
    tree->is_partial = 1;
}

// A child belongs to the thread that has started it.
static void add_children(struct tree *tree, int pid) {
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    if (tasks == NULL) {
        tree->is_partial |= is_there(pid);
        return;
    }
    for (struct dirent *task; (task = readdir(tasks)) != NULL;)
        if (task->d_name[0] != '.')
            add_children_of_task(tree, pid, task->d_name);
    closedir(tasks);
}

static void list(struct tree *tree, int except) {
    tree->count = 0;
    tree->except = except;
    tree->is_partial = access("/proc/thread-self/children", R_OK) != 0; // a kernel need not have it
    add_children(tree, (int)getpid());
    for (size_t i = 0; i < tree->count; i++)
        add_children(tree, tree->pids[i]);
}

// 0 of one that has ended: what it held is free.
static uint64_t pss_of(int pid) {
    char path[48], text[2048];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    errno = 0;
    read_text(path, text, sizeof text);
    const int is_refused = errno == EACCES || errno == EPERM || errno == ENOENT;
    const char *line = strstr(text, "\nPss:");
    if (line != NULL)
        return strtoull(line + strlen("\nPss:"), NULL, 10) << 10;
    return is_refused && is_there(pid) ? NOT_MEASURED : 0;
}

uint64_t app_tree_pss(int except) {
    static struct tree tree;
    uint64_t sum = 0;
    list(&tree, except);
    for (size_t i = 0; i < tree.count && !tree.is_partial; i++) {
        const uint64_t pss = pss_of(tree.pids[i]);
        tree.is_partial = pss == NOT_MEASURED;
        sum += pss;
    }
    return tree.is_partial ? NOT_MEASURED : sum;
}

void app_tree_kill(void) {
    static struct tree tree;
    for (int round = 0; round < KILL_ROUNDS; round++) {
        list(&tree, 0);
        for (size_t i = 0; i < tree.count; i++)
            kill(tree.pids[i], SIGKILL);
        while (waitpid(-1, NULL, tree.count != 0 ? 0 : WNOHANG) > 0)
            continue;
        if (errno == ECHILD)
            return;
    }
}
