/* Counts the operations on files below one folder, in a process and all that it starts, and makes one of them fail.

   Loaded by LD_PRELOAD. CAMPAIGN_SHIM names a file of one `struct state`, shared by all processes; without it, or until
   it is armed, every call goes through. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum kind { COUNT = 0, KILL_BEFORE = 1, KILL_AFTER = 2, NO_SPACE = 3, IO_ERROR = 4, SHORT_WRITE = 5, TORN = 6 };

struct state {
    long counter;  /* operations so far */
    long target;   /* the one that fails, from 1; with NO_SPACE all writes after it fail, too */
    int kind;
    int armed;
    long hit;      /* how often something was done to an operation */
    char last[64]; /* name of the operation that was hit */
    char folder[PATH_MAX];
};

static struct state *shared;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("CAMPAIGN_SHIM");
    if (!name) return;
    int file = open(name, O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    void *found = mmap(NULL, sizeof(struct state), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (found != MAP_FAILED) shared = found;
}

/* Makes a process that was forked from one with the library use a state. */
int campaign_open(const char *name) {
    setenv("CAMPAIGN_SHIM", name, 1);
    begin();
    return shared != NULL;
}

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }
#define REAL(result, name, ...) static result (*next)(__VA_ARGS__); if (!next) next = real(#name)

static int below(const char *path) {
    size_t length = strlen(shared->folder);
    return !strncmp(path, shared->folder, length) && (path[length] == '/' || !path[length]);
}

static int watched_path(int at, const char *path) {
    char whole[2 * PATH_MAX], base[PATH_MAX];
    if (!shared || !shared->armed || !path) return 0;
    if (path[0] == '/') return below(path);
    if (at == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return 0;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        ssize_t size = readlink(link, base, sizeof base - 1);
        if (size < 0) return 0;
        base[size] = 0;
    }
    snprintf(whole, sizeof whole, "%s/%s", base, path);
    return below(whole);
}

static int watched_file(int file) {
    char link[64], path[PATH_MAX];
    if (!shared || !shared->armed) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return below(path);
}

enum verdict { GO_ON, FAIL, PARTLY, DIE_AFTER };

/* Counts an operation. `writes`: whether it needs room on the disk. */
static enum verdict judge(const char *name, int writes) {
    long number = __sync_add_and_fetch(&shared->counter, 1);
    int here = number == shared->target;
    if (shared->kind == NO_SPACE && writes && number >= shared->target && shared->target > 0) {
        if (!shared->hit) strncpy(shared->last, name, sizeof shared->last - 1);
        shared->hit++;
        errno = ENOSPC;
        return FAIL;
    }
    if (!here || shared->kind == COUNT || shared->kind == NO_SPACE) return GO_ON;
    strncpy(shared->last, name, sizeof shared->last - 1);
    shared->hit++;
    switch (shared->kind) {
    case KILL_BEFORE: kill(getpid(), SIGKILL); pause(); return FAIL;
    case KILL_AFTER: return DIE_AFTER;
    case IO_ERROR: errno = EIO; return FAIL;
    default: return PARTLY;
    }
}

static void die(enum verdict verdict) {
    if (verdict == DIE_AFTER) { kill(getpid(), SIGKILL); pause(); }
}

/* Operations on names. A torn rename or removal takes place, and is reported as failed. */
#define NAMED(watched, name, writes, call)                                  \
    if (!(watched)) return call;                                            \
    enum verdict verdict = judge(name, writes);                             \
    if (verdict == FAIL) return -1;                                         \
    int result = call;                                                      \
    die(verdict);                                                           \
    if (verdict == PARTLY && result == 0) { errno = EIO; return -1; }       \
    return result

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    NAMED(watched_path(AT_FDCWD, to), "rename", 0, next(from, to));
}
int renameat(int a, const char *from, int b, const char *to) {
    REAL(int, renameat, int, const char *, int, const char *);
    NAMED(watched_path(b, to), "rename", 0, next(a, from, b, to));
}
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    REAL(int, renameat2, int, const char *, int, const char *, unsigned);
    NAMED(watched_path(b, to), "rename", 0, next(a, from, b, to, flags));
}
int unlink(const char *path) {
    REAL(int, unlink, const char *);
    NAMED(watched_path(AT_FDCWD, path), "unlink", 0, next(path));
}
int unlinkat(int at, const char *path, int flags) {
    REAL(int, unlinkat, int, const char *, int);
    NAMED(watched_path(at, path), "unlink", 0, next(at, path, flags));
}
int rmdir(const char *path) {
    REAL(int, rmdir, const char *);
    NAMED(watched_path(AT_FDCWD, path), "rmdir", 0, next(path));
}
int mkdir(const char *path, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t);
    NAMED(watched_path(AT_FDCWD, path), "mkdir", 1, next(path, mode));
}
int mkdirat(int at, const char *path, mode_t mode) {
    REAL(int, mkdirat, int, const char *, mode_t);
    NAMED(watched_path(at, path), "mkdir", 1, next(at, path, mode));
}
int fsync(int file) {
    REAL(int, fsync, int);
    NAMED(watched_file(file), "fsync", 0, next(file));
}
int fdatasync(int file) {
    REAL(int, fdatasync, int);
    NAMED(watched_file(file), "fdatasync", 0, next(file));
}
int ftruncate(int file, off_t size) {
    REAL(int, ftruncate, int, off_t);
    NAMED(watched_file(file), "ftruncate", 0, next(file, size));
}
int ftruncate64(int file, off64_t size) {
    REAL(int, ftruncate64, int, off64_t);
    NAMED(watched_file(file), "ftruncate", 0, next(file, size));
}

/* Opening to write. An interrupted creation leaves nothing to close: it is made, and reported as failed. */
#define WRITES(flags) (((flags) & O_ACCMODE) != O_RDONLY)
#define OPENED(watched, flags, call)                                        \
    if (!WRITES(flags) || !(watched)) return call;                          \
    enum verdict verdict = judge("open", (flags) & O_CREAT);                \
    if (verdict == FAIL) return -1;                                         \
    int result = call;                                                      \
    die(verdict);                                                           \
    if (verdict == PARTLY && result >= 0) { close(result); errno = EIO; return -1; } \
    return result
#define MODE(last)                                                          \
    mode_t mode = 0;                                                        \
    if (last & (O_CREAT | O_TMPFILE)) { va_list list; va_start(list, last); mode = va_arg(list, mode_t); va_end(list); }

int open(const char *path, int flags, ...) {
    REAL(int, open, const char *, int, ...);
    MODE(flags)
    OPENED(watched_path(AT_FDCWD, path), flags, next(path, flags, mode));
}
int open64(const char *path, int flags, ...) {
    REAL(int, open64, const char *, int, ...);
    MODE(flags)
    OPENED(watched_path(AT_FDCWD, path), flags, next(path, flags, mode));
}
int openat(int at, const char *path, int flags, ...) {
    REAL(int, openat, int, const char *, int, ...);
    MODE(flags)
    OPENED(watched_path(at, path), flags, next(at, path, flags, mode));
}
int openat64(int at, const char *path, int flags, ...) {
    REAL(int, openat64, int, const char *, int, ...);
    MODE(flags)
    OPENED(watched_path(at, path), flags, next(at, path, flags, mode));
}

/* Writing. A short write stores the first half, and says so; a torn one stores it, and fails. */
#define WRITTEN(name, call, half)                                           \
    if (!size || !watched_file(file)) return call;                          \
    enum verdict verdict = judge(name, 1);                                  \
    if (verdict == FAIL) return -1;                                         \
    if (verdict == PARTLY) {                                                \
        ssize_t result = half;                                              \
        if (shared->kind == TORN) { errno = EIO; return -1; }               \
        return result;                                                      \
    }                                                                       \
    ssize_t result = call;                                                  \
    die(verdict);                                                           \
    return result
#define HALF (size > 1 ? size / 2 : size)

ssize_t write(int file, const void *data, size_t size) {
    REAL(ssize_t, write, int, const void *, size_t);
    WRITTEN("write", next(file, data, size), next(file, data, HALF));
}
ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
    REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    WRITTEN("pwrite", next(file, data, size, at), next(file, data, HALF, at));
}
ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    WRITTEN("pwrite", next(file, data, size, at), next(file, data, HALF, at));
}

/* The clock of the wall, which goes back at every look at it. */
static double clock_step;
static long clock_looks;

void campaign_clock(double seconds) { clock_step = seconds; }

static double lost(void) { return clock_step == 0 ? 0 : clock_step * (double)__sync_add_and_fetch(&clock_looks, 1); }

int clock_gettime(clockid_t clock, struct timespec *time) {
    REAL(int, clock_gettime, clockid_t, struct timespec *);
    int result = next(clock, time);
    if (result == 0 && clock == CLOCK_REALTIME && clock_step != 0) time->tv_sec -= (time_t)lost();
    return result;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    REAL(int, gettimeofday, struct timeval *, void *);
    int result = next(now, zone);
    if (result == 0 && clock_step != 0) now->tv_sec -= (time_t)lost();
    return result;
}
