// SPDX-License-Identifier: Apache-2.0
// app_tree.h from /proc. The caller is a subreaper: what a daemon leaves behind becomes its child. Layer: runner.
#include "app_tree.h"

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
};

static void add_children_of_task(struct tree *tree, int pid, const char *task) {
    char path[64], text[8192];
    snprintf(path, sizeof path, "/proc/%d/task/%.16s/children", pid, task);
    read_text(path, text, sizeof text);
    for (char *at = text, *end; tree->count < MOST_PROCESSES; at = end) {
        long child = strtol(at, &end, 10);
        if (end == at)
            return;
        if (child != tree->except)
            tree->pids[tree->count++] = (int)child;
    }
}

// A child belongs to the thread that has started it.
static void add_children(struct tree *tree, int pid) {
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    if (tasks == NULL)
        return;
    for (struct dirent *task; (task = readdir(tasks)) != NULL;)
        if (task->d_name[0] != '.')
            add_children_of_task(tree, pid, task->d_name);
    closedir(tasks);
}

static void list(struct tree *tree, int except) {
    tree->count = 0;
    tree->except = except;
    add_children(tree, (int)getpid());
    for (size_t i = 0; i < tree->count; i++)
        add_children(tree, tree->pids[i]);
}

uint64_t app_tree_pss(int except) {
    static struct tree tree;
    char path[48], text[2048];
    uint64_t sum = 0;
    list(&tree, except);
    for (size_t i = 0; i < tree.count; i++) {
        snprintf(path, sizeof path, "/proc/%d/smaps_rollup", tree.pids[i]);
        read_text(path, text, sizeof text);
        const char *line = strstr(text, "\nPss:");
        sum += line != NULL ? strtoull(line + strlen("\nPss:"), NULL, 10) << 10 : 0;
    }
    return sum;
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
