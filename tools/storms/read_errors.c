/* Preloaded into every process of a run: reading below STORM_ROOT fails now and then, with EIO or ESTALE.
 *
 * STORM_RATE is the share of calls that fail, STORM_SEED seeds the draws (each process has its own), and STORM_LOG gets a
 * line for each failure: process, call, errno, path. Opening for writing never fails.
 */
#define _GNU_SOURCE
#undef _FILE_OFFSET_BITS
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST_FILES = 65536 };
static char *paths[MOST_FILES]; /* of the files below STORM_ROOT that are open */
static __thread uint64_t state;
static __thread pid_t owner; /* a fork draws anew */

static uint64_t draw(void) {
  if (owner != getpid()) {
    const char *seed = getenv("STORM_SEED");
    owner = getpid();
    state = (seed ? strtoull(seed, NULL, 10) : 0) * 0x9E3779B97F4A7C15u + (uint64_t)owner * 0xBF58476D1CE4E5B9u +
            (uint64_t)syscall(SYS_gettid);
  }
  state += 0x9E3779B97F4A7C15u; /* splitmix64 */
  uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

static int is_data(const char *path) {
  const char *root = getenv("STORM_ROOT");
  size_t length = root ? strlen(root) : 0;
  return length && path && !strncmp(path, root, length) && (path[length] == '/' || !path[length]);
}

static int fails(const char *call, const char *path) {
  const char *rate = getenv("STORM_RATE"), *log = getenv("STORM_LOG");
  if (!rate || !log || (double)(draw() >> 11) / 9007199254740992.0 >= atof(rate)) return 0;
  int number = draw() & 1 ? EIO : ESTALE;
  char line[PATH_MAX + 64];
  int length = snprintf(line, sizeof line, "%d %s %d %s\n", (int)getpid(), call, number, path);
  int file = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (file >= 0) {
    if (syscall(SYS_write, file, line, (size_t)(length < (int)sizeof line ? length : (int)sizeof line - 1)) < 0) number = EIO;
    syscall(SYS_close, file);
  }
  errno = number;
  return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int keep(int file, const char *path) {
  if (file >= 0 && file < MOST_FILES) {
    free(paths[file]);
    paths[file] = path ? strdup(path) : NULL;
  }
  return file;
}

#define OPEN(name)                                                            \
  int name(const char *path, int flags, ...) {                                \
    va_list more;                                                             \
    va_start(more, flags);                                                    \
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, int) : 0;         \
    va_end(more);                                                             \
    int ours = (flags & O_ACCMODE) == O_RDONLY && is_data(path);              \
    if (ours && fails("open", path)) return -1;                               \
    return keep(NEXT(name)(path, flags, mode), ours ? path : NULL);           \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                          \
  int name(int folder, const char *path, int flags, ...) {                    \
    va_list more;                                                             \
    va_start(more, flags);                                                    \
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, int) : 0;         \
    va_end(more);                                                             \
    int ours = (flags & O_ACCMODE) == O_RDONLY && is_data(path);              \
    if (ours && fails("openat", path)) return -1;                             \
    return keep(NEXT(name)(folder, path, flags, mode), ours ? path : NULL);   \
  }
OPENAT(openat)
OPENAT(openat64)

int close(int file) {
  keep(file, NULL);
  return NEXT(close)(file);
}

#define FOPEN(name)                                                           \
  FILE *name(const char *path, const char *mode) {                            \
    int ours = mode[0] == 'r' && !strchr(mode, '+') && is_data(path);         \
    if (ours && fails("fopen", path)) return NULL;                            \
    FILE *file = NEXT(name)(path, mode);                                      \
    if (file) keep(fileno(file), ours ? path : NULL);                         \
    return file;                                                              \
  }
FOPEN(fopen)
FOPEN(fopen64)

static const char *path_of(int file) { return file >= 0 && file < MOST_FILES ? paths[file] : NULL; }

ssize_t read(int file, void *into, size_t count) {
  const char *path = path_of(file);
  return path && fails("read", path) ? -1 : NEXT(read)(file, into, count);
}

ssize_t pread64(int file, void *into, size_t count, off64_t at) {
  const char *path = path_of(file);
  return path && fails("pread", path) ? -1 : NEXT(pread64)(file, into, count, at);
}

size_t fread(void *into, size_t size, size_t count, FILE *file) {
  const char *path = path_of(fileno(file));
  return path && fails("fread", path) ? 0 : NEXT(fread)(into, size, count, file);
}

DIR *opendir(const char *path) { return is_data(path) && fails("opendir", path) ? NULL : NEXT(opendir)(path); }

#define STAT(name, type)                                                      \
  int name(const char *path, struct type *into) {                             \
    return is_data(path) && fails("stat", path) ? -1 : NEXT(name)(path, into); \
  }
STAT(stat, stat)
STAT(stat64, stat64)
STAT(lstat, stat)
STAT(lstat64, stat64)

#define STATAT(name, type)                                                    \
  int name(int folder, const char *path, struct type *into, int flags) {      \
    return is_data(path) && fails("stat", path) ? -1 : NEXT(name)(folder, path, into, flags); \
  }
STATAT(fstatat, stat)
STATAT(fstatat64, stat64)

int statx(int folder, const char *restrict path, int flags, unsigned mask, struct statx *restrict into) {
  return is_data(path) && fails("stat", path) ? -1 : NEXT(statx)(folder, path, flags, mask, into);
}

/* What programs built for an older C library call. */
#define XSTAT(name, type)                                                     \
  int name(int version, const char *path, struct type *into) {                \
    int (*next)(int, const char *, struct type *) = dlsym(RTLD_NEXT, #name);  \
    return is_data(path) && fails("stat", path) ? -1 : next(version, path, into); \
  }
XSTAT(__xstat, stat)
XSTAT(__xstat64, stat64)
XSTAT(__lxstat, stat)
XSTAT(__lxstat64, stat64)
