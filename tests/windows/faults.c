// SPDX-License-Identifier: Apache-2.0
// A malloc library for Windows that misbehaves as HZBENCH_FAULT says: crash, hang or corrupt, after FAULT_AFTER blocks;
// without it, an honest one that is found by its path. Over the process heap.
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#define FAULT_AFTER 1000

static LONG blocks;

void *faults_malloc(size_t bytes);
void faults_free(void *block);
void *faults_realloc(void *block, size_t bytes);

static void misbehave(unsigned char *block, size_t bytes) {
    char fault[16] = "";
    GetEnvironmentVariableA("HZBENCH_FAULT", fault, sizeof fault);
    if (strcmp(fault, "crash") == 0)
        *(volatile char *)16 = 1;
    if (strcmp(fault, "hang") == 0)
        Sleep(INFINITE);
    if (strcmp(fault, "corrupt") == 0)
        block[bytes - 1] ^= 0x55; // of a block that is handed out already
}

void *faults_malloc(size_t bytes) {
    static unsigned char *last;
    static size_t last_bytes;
    if (InterlockedIncrement(&blocks) == FAULT_AFTER && last != NULL)
        misbehave(last, last_bytes);
    last = HeapAlloc(GetProcessHeap(), 0, bytes);
    last_bytes = bytes;
    return last;
}

void faults_free(void *block) {
    if (block != NULL)
        HeapFree(GetProcessHeap(), 0, block);
}

void *faults_realloc(void *block, size_t bytes) {
    return block != NULL ? HeapReAlloc(GetProcessHeap(), 0, block, bytes) : faults_malloc(bytes);
}
