// SPDX-License-Identifier: Apache-2.0
// os_elf.h for 64-bit ELF files on Linux. Values are copied out with memcpy: an image need not be aligned.
#include "os_elf.h"

#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int os_elf_build_id_of_notes(const unsigned char *notes, size_t bytes, size_t alignment, char hex[OS_BUILD_ID_BYTES]) {
    static const char digits[] = "0123456789abcdef";
    size_t step = alignment == 8 ? 8 : 4; // the only two the format knows; 0 and 1 stand for 4
    hex[0] = '\0';
    size_t at = 0;
    while (bytes - at >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr note;
        memcpy(&note, notes + at, sizeof note);
        at += sizeof note;
        // Sizes are 32-bit values in 64-bit arithmetic: rounding up cannot wrap.
        size_t name_bytes = ((size_t)note.n_namesz + step - 1) & ~(step - 1);
        size_t text_bytes = ((size_t)note.n_descsz + step - 1) & ~(step - 1);
        if (note.n_namesz > bytes - at || name_bytes > bytes - at)
            return 0;
        const unsigned char *name = notes + at;
        at += name_bytes;
        if (note.n_descsz > bytes - at)
            return 0;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(name, "GNU", 4) == 0 && note.n_descsz > 0) {
            size_t count = note.n_descsz;
            if (count > (OS_BUILD_ID_BYTES - 1) / 2)
                count = (OS_BUILD_ID_BYTES - 1) / 2;
            for (size_t i = 0; i < count; i++) {
                hex[2 * i] = digits[notes[at + i] >> 4];
                hex[2 * i + 1] = digits[notes[at + i] & 15];
            }
            hex[2 * count] = '\0';
            return 1;
        }
        if (text_bytes > bytes - at)
            return 0; // the last note may lack its padding
        at += text_bytes;
    }
    return 0;
}

static int header_of(const unsigned char *image, size_t bytes, Elf64_Ehdr *header) {
    if (bytes < sizeof *header)
        return 0;
    memcpy(header, image, sizeof *header);
    return memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 && header->e_ident[EI_CLASS] == ELFCLASS64;
}

int os_elf_build_id(const unsigned char *image, size_t bytes, char hex[OS_BUILD_ID_BYTES]) {
    hex[0] = '\0';
    Elf64_Ehdr header;
    if (!header_of(image, bytes, &header) || header.e_phentsize != sizeof(Elf64_Phdr))
        return 0;
    size_t table_bytes = (size_t)header.e_phnum * sizeof(Elf64_Phdr);
    if (header.e_phoff > bytes || table_bytes > bytes - header.e_phoff)
        return 0;
    for (size_t i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr segment;
        memcpy(&segment, image + header.e_phoff + i * sizeof segment, sizeof segment);
        if (segment.p_type != PT_NOTE || segment.p_offset > bytes || segment.p_filesz > bytes - segment.p_offset)
            continue;
        if (os_elf_build_id_of_notes(image + segment.p_offset, segment.p_filesz, segment.p_align, hex))
            return 1;
    }
    return 0;
}

int os_elf_build_id_of_file(const char *path, char hex[OS_BUILD_ID_BYTES]) {
    hex[0] = '\0';
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    struct stat status;
    int found = 0;
    if (fstat(file, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0) {
        size_t bytes = (size_t)status.st_size;
        void *image = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, file, 0);
        if (image != MAP_FAILED) {
            found = os_elf_build_id(image, bytes, hex);
            munmap(image, bytes);
        }
    }
    close(file);
    return found;
}

static int read_header(const char *path, Elf64_Ehdr *header) {
    unsigned char image[sizeof *header];
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    ssize_t got = read(file, image, sizeof image);
    close(file);
    return got > 0 && header_of(image, (size_t)got, header);
}

int os_elf_is_loadable_here(const char *path) {
    Elf64_Ehdr file;
    Elf64_Ehdr self;
    return read_header(path, &file) && read_header("/proc/self/exe", &self) && file.e_type == ET_DYN &&
           file.e_machine == self.e_machine;
}
