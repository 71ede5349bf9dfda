// SPDX-License-Identifier: Apache-2.0
// machine.h on Windows: the registry, the memory manager and, under wine, wine itself. Layer: runner.
#include "machine.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <windows.h>

#define CPU_KEY "HARDWARE\\DESCRIPTION\\System\\CentralProcessor\\0"
#define SYSTEM_KEY "SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion"
#define BIOS_KEY "HARDWARE\\DESCRIPTION\\System\\BIOS"

// The one that is linked: libraries of the system may bring the other along.
#ifdef _UCRT
#define C_LIBRARY "ucrtbase"
#else
#define C_LIBRARY "msvcrt"
#endif

const char *const machine_facts[] = {"kernel", "kernel_build", "memory_bytes", "commit_limit_bytes", "libc", NULL};

static void *ntdll_function(const char *name) {
    FARPROC found = GetProcAddress(GetModuleHandleA("ntdll.dll"), name);
    void *address;
    memcpy(&address, &found, sizeof address);
    return address;
}

static void registry_text(const char *key, const char *value, char *out, size_t out_bytes) {
    DWORD bytes = (DWORD)out_bytes;
    if (RegGetValueA(HKEY_LOCAL_MACHINE, key, value, RRF_RT_REG_SZ, NULL, out, &bytes) != ERROR_SUCCESS)
        out[0] = '\0';
}

// Not GetVersion(), which says what a program's manifest wants to hear.
static void kernel_version(char *out, size_t out_bytes) {
    LONG(WINAPI * get_version)(OSVERSIONINFOW *) = NULL;
    void *address = ntdll_function("RtlGetVersion");
    OSVERSIONINFOW version = {.dwOSVersionInfoSize = sizeof version};
    memcpy(&get_version, &address, sizeof address);
    if (get_version && get_version(&version) == 0)
        snprintf(out, out_bytes, "Windows %lu.%lu.%lu", version.dwMajorVersion, version.dwMinorVersion,
                 version.dwBuildNumber);
}

void machine_read(const char *fact, char *out, size_t out_bytes) {
    MEMORYSTATUSEX memory = {.dwLength = sizeof memory};
    out[0] = '\0';
    if (strcmp(fact, "kernel") == 0)
        kernel_version(out, out_bytes);
    else if (strcmp(fact, "kernel_build") == 0)
        registry_text(SYSTEM_KEY, "BuildLabEx", out, out_bytes);
    else if (strcmp(fact, "memory_bytes") == 0 && GlobalMemoryStatusEx(&memory))
        snprintf(out, out_bytes, "%llu", memory.ullTotalPhys);
    else if (strcmp(fact, "commit_limit_bytes") == 0 && GlobalMemoryStatusEx(&memory))
        snprintf(out, out_bytes, "%llu", memory.ullTotalPageFile);
    else if (strcmp(fact, "clocksource") == 0)
        snprintf(out, out_bytes, "QueryPerformanceCounter");
    else if (strcmp(fact, "libc") == 0)
        snprintf(out, out_bytes, C_LIBRARY);
}

void machine_identity(char *out, size_t out_bytes) {
    char id[128], host[MAX_COMPUTERNAME_LENGTH + 1] = "";
    DWORD host_bytes = sizeof host;
    registry_text("SOFTWARE\\Microsoft\\Cryptography", "MachineGuid", id, sizeof id);
    GetComputerNameA(host, &host_bytes);
    snprintf(out, out_bytes, "%s\n%s", id, host);
}

static int has_hypervisor(void) {
    unsigned a = 1, b, c = 0, d;
    __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return (int)(c >> 31); // reserved for hypervisors to set
}

void machine_virtualisation(char *out, size_t out_bytes) {
    char product[96];
    const char *(*wine_version)(void) = NULL;
    void *address = ntdll_function("wine_get_version");
    memcpy(&wine_version, &address, sizeof address);
    registry_text(BIOS_KEY, "SystemProductName", product, sizeof product);
    char machine[128] = "none";
    if (has_hypervisor())
        snprintf(machine, sizeof machine, "virtual machine%s%s%s", product[0] ? " (" : "", product,
                 product[0] ? ")" : "");
    if (wine_version)
        snprintf(out, out_bytes, "wine %s on: %s", wine_version(), machine);
    else
        snprintf(out, out_bytes, "%s", machine);
}
