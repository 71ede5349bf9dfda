// SPDX-License-Identifier: Apache-2.0
// os_library.h on Windows. An object's identity is its module handle, the address it is loaded at. Export forwarders
// can lead a symbol into another module, so every address is asked for its module.
#include "os_library.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#include <psapi.h>

static HMODULE module_of_address(const void *address) {
    HMODULE module = NULL;
    const DWORD flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
    return address != NULL && GetModuleHandleExA(flags, address, &module) ? module : NULL;
}

void *os_library_open(const char *name, char *why, size_t why_bytes) {
    // A library beside a given path is found first, and never the current directory for a bare name.
    const DWORD flags = strchr(name, '/') != NULL || strchr(name, '\\') != NULL ? LOAD_WITH_ALTERED_SEARCH_PATH : 0;
    char native[OS_PATH_BYTES];
    if (!os_library_real_path(name, native, sizeof native))
        snprintf(native, sizeof native, "%s", name);
    HMODULE handle = LoadLibraryExA(native, NULL, flags);
    if (handle == NULL)
        snprintf(why, why_bytes, "system error %lu", GetLastError());
    return handle;
}

void *os_library_loaded(const char *path) {
    return GetModuleHandleA(path);
}

int os_library_holds(void *handle, const void *address) {
    return handle != NULL && module_of_address(address) == handle;
}

static void *symbol_of(HMODULE module, const char *symbol) {
    FARPROC found = GetProcAddress(module, symbol);
    void *address;
    memcpy(&address, &found, sizeof address); // ISO C has no cast between function and data pointers
    return address;
}

// A module binds its imports by name and module, so there is no "anywhere": the C library stands for the process.
void *os_library_symbol_anywhere(void *handle, const char *symbol) {
    void *own = symbol_of(handle != NULL ? handle : GetModuleHandleA(NULL), symbol);
    return own != NULL ? own : symbol_of(module_of_address((const void *)(uintptr_t)&malloc), symbol);
}

void *os_library_symbol(void *handle, const char *symbol) {
    void *address = symbol_of(handle, symbol);
    return os_library_holds(handle, address) ? address : NULL;
}

// One spelling a file: absolute, with '/' - the rows and the tests of two systems then read alike.
static void with_slashes(char *path) {
    for (; *path != '\0'; path++)
        *path = *path == '\\' ? '/' : *path;
}

int os_library_real_path(const char *name, char *path, size_t path_bytes) {
    char buffer[OS_PATH_BYTES];
    DWORD length = GetFullPathNameA(name, sizeof buffer, buffer, NULL);
    path[0] = '\0';
    if (length == 0 || length >= sizeof buffer || length >= path_bytes ||
        GetFileAttributesA(buffer) == INVALID_FILE_ATTRIBUTES)
        return 0;
    memcpy(path, buffer, length + 1);
    with_slashes(path);
    return 1;
}

int os_library_path(void *handle, char *path, size_t path_bytes) {
    DWORD length = handle != NULL ? GetModuleFileNameA(handle, path, (DWORD)path_bytes) : 0;
    if (length == 0 || length >= path_bytes) {
        path[0] = '\0';
        return 0;
    }
    with_slashes(path);
    return 1;
}

int os_library_path_of(const void *address, char *path, size_t path_bytes) {
    return os_library_path(module_of_address(address), path, path_bytes);
}

// What a linker writes with --build-id: a debug directory entry with "RSDS" and 16 bytes.
struct codeview {
    char magic[4];
    unsigned char id[16];
};

static void write_id(const struct codeview *record, char hex[OS_BUILD_ID_BYTES]) {
    if (memcmp(record->magic, "RSDS", sizeof record->magic) != 0)
        return;
    for (size_t i = 0; i < sizeof record->id; i++)
        snprintf(hex + 2 * i, 3, "%02x", record->id[i]);
}

static const IMAGE_NT_HEADERS64 *headers_of(const unsigned char *image, size_t bytes) {
    const IMAGE_DOS_HEADER *dos = (const void *)image;
    if (bytes < sizeof *dos || dos->e_magic != IMAGE_DOS_SIGNATURE || dos->e_lfanew < 0 ||
        (size_t)dos->e_lfanew > bytes || bytes - (size_t)dos->e_lfanew < sizeof(IMAGE_NT_HEADERS64))
        return NULL;
    const IMAGE_NT_HEADERS64 *headers = (const void *)(image + dos->e_lfanew);
    return headers->Signature == IMAGE_NT_SIGNATURE && headers->FileHeader.Machine == IMAGE_FILE_MACHINE_AMD64 &&
                   headers->OptionalHeader.Magic == IMAGE_NT_OPTIONAL_HDR64_MAGIC
               ? headers
               : NULL;
}

// Build id of an image as the loader lays it out; `bytes` bounds every offset.
static void find_id(const unsigned char *image, size_t bytes, char hex[OS_BUILD_ID_BYTES]) {
    const IMAGE_NT_HEADERS64 *headers = headers_of(image, bytes);
    hex[0] = '\0';
    if (headers == NULL || headers->OptionalHeader.NumberOfRvaAndSizes <= IMAGE_DIRECTORY_ENTRY_DEBUG)
        return;
    const IMAGE_DATA_DIRECTORY *debug = &headers->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_DEBUG];
    if (debug->VirtualAddress > bytes || debug->Size > bytes - debug->VirtualAddress)
        return;
    const IMAGE_DEBUG_DIRECTORY *entries = (const void *)(image + debug->VirtualAddress);
    for (size_t i = 0; i < debug->Size / sizeof *entries && hex[0] == '\0'; i++)
        if (entries[i].Type == IMAGE_DEBUG_TYPE_CODEVIEW && entries[i].SizeOfData >= sizeof(struct codeview) &&
            entries[i].AddressOfRawData <= bytes && bytes - entries[i].AddressOfRawData >= sizeof(struct codeview))
            write_id((const void *)(image + entries[i].AddressOfRawData), hex);
}

void os_library_build_id(void *handle, char hex[OS_BUILD_ID_BYTES]) {
    MODULEINFO info = {0};
    hex[0] = '\0';
    if (handle != NULL && GetModuleInformation(GetCurrentProcess(), handle, &info, sizeof info))
        find_id(handle, info.SizeOfImage, hex);
}

// The system lays the file out without running it; only images for this machine can be laid out so.
static HMODULE open_as_image(const char *path) {
    return LoadLibraryExA(path, NULL, LOAD_LIBRARY_AS_IMAGE_RESOURCE);
}

int os_library_is_loadable(const char *path) {
    unsigned char head[4096];
    FILE *file = fopen(path, "rb");
    size_t bytes = file != NULL ? fread(head, 1, sizeof head, file) : 0;
    if (file != NULL)
        fclose(file);
    const IMAGE_NT_HEADERS64 *headers = headers_of(head, bytes);
    return headers != NULL && (headers->FileHeader.Characteristics & IMAGE_FILE_DLL) != 0;
}

int os_library_build_id_of_file(const char *path, char hex[OS_BUILD_ID_BYTES]) {
    HMODULE image = open_as_image(path);
    hex[0] = '\0';
    if (image == NULL)
        return 0;
    const unsigned char *base = (const void *)((uintptr_t)image & ~(uintptr_t)3); // low bits mark the kind of handle
    const IMAGE_NT_HEADERS64 *headers = headers_of(base, 4096);
    if (headers != NULL)
        find_id(base, headers->OptionalHeader.SizeOfImage, hex);
    FreeLibrary(image);
    return hex[0] != '\0';
}

static HANDLE open_for_identity(const char *path, BY_HANDLE_FILE_INFORMATION *out) {
    HANDLE file = CreateFileA(path, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                              FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (file != INVALID_HANDLE_VALUE && !GetFileInformationByHandle(file, out)) {
        CloseHandle(file);
        file = INVALID_HANDLE_VALUE;
    }
    return file;
}

int os_library_same_file(const char *a, const char *b) {
    BY_HANDLE_FILE_INFORMATION first = {0};
    BY_HANDLE_FILE_INFORMATION second = {0};
    // Both stay open for the comparison: an index may be given to another file when its file is closed.
    HANDLE one = open_for_identity(a, &first);
    HANDLE other = open_for_identity(b, &second);
    int same = one != INVALID_HANDLE_VALUE && other != INVALID_HANDLE_VALUE &&
               first.dwVolumeSerialNumber == second.dwVolumeSerialNumber &&
               first.nFileIndexHigh == second.nFileIndexHigh && first.nFileIndexLow == second.nFileIndexLow;
    if (one != INVALID_HANDLE_VALUE)
        CloseHandle(one);
    if (other != INVALID_HANDLE_VALUE)
        CloseHandle(other);
    return same;
}

int os_library_is_file(const char *path) {
    DWORD attributes = GetFileAttributesA(path);
    return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) == 0;
}

static int try_directory(const char *directory, const char *library, char *path, size_t path_bytes) {
    char candidate[OS_PATH_BYTES];
    int length = snprintf(candidate, sizeof candidate, "%s/%s", directory, library);
    return length > 0 && (size_t)length < sizeof candidate && os_library_is_loadable(candidate) &&
           os_library_real_path(candidate, path, path_bytes);
}

int os_library_find(const char *name, char *path, size_t path_bytes) {
    char found[OS_PATH_BYTES];
    path[0] = '\0';
    // What is in the process already is what a load by this name would give.
    HMODULE loaded = GetModuleHandleA(name);
    if (loaded != NULL)
        return os_library_path(loaded, path, path_bytes);
    DWORD length = SearchPathA(NULL, name, NULL, sizeof found, found, NULL);
    return length > 0 && length < sizeof found && os_library_real_path(found, path, path_bytes);
}

int os_library_executable_directory(char *path, size_t path_bytes) {
    if (!os_library_path(GetModuleHandleA(NULL), path, path_bytes))
        return 0;
    *strrchr(path, '/') = '\0'; // a module's name is a full path
    return 1;
}

int os_library_find_own(const char *backend, const char *library, char *path, size_t path_bytes) {
    char directory[OS_PATH_BYTES];
    path[0] = '\0';
    if (!os_library_executable_directory(directory, sizeof directory))
        return 0;
    // Beside the executable, where Windows programs have their libraries, and in a build tree up to three steps above.
    int found = try_directory(directory, library, path, path_bytes);
    for (int level = 0; !found && level <= 3; level++) {
        char place[OS_PATH_BYTES + 80];
        snprintf(place, sizeof place, "%s/allocators/%s", directory, backend);
        found = try_directory(place, library, path, path_bytes);
        char *last = strrchr(directory, '/');
        if (last == NULL)
            break;
        *last = '\0';
    }
    return found;
}

void os_environment_set(const char *name, const char *value) {
    // Both: the C library keeps a copy of its own, and a DLL may have been built with another one.
    SetEnvironmentVariableA(name, value);
    _putenv_s(name, value);
}
