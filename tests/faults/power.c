/* Notes what a process does to the files below a folder, as a library that is loaded before libc's.

   K600_POWER_ROOT is the folder, K600_POWER_LOG another one: `log` in it gets a line for each
   operation that went well, its fields parted by tabs, and numbered files what a file held when it
   was closed or flushed. Paths are absolute. What the lines mean, `power.py` knows. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static int number;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Every wrapper is `BEGIN; result = …; NOTE(…); END` so that the lines stand in the order of what
   happened. */
#define BEGIN pthread_mutex_lock(&one_at_a_time)
#define END                                                                                       \
    do {                                                                                          \
        int kept = errno;                                                                         \
        pthread_mutex_unlock(&one_at_a_time);                                                     \
        errno = kept;                                                                             \
    } while (0)

static int inside(const char *path) {
    const char *root = getenv("K600_POWER_ROOT");
    size_t length = root ? strlen(root) : 0;
    return length && !strncmp(path, root, length) && (path[length] == '/' || !path[length]);
}

/* Write the absolute path of `name`, which is relative to the folder `descriptor`. */
static void resolve(int descriptor, const char *name, char *path) {
    char folder[PATH_MAX] = "", link[64];
    ssize_t length;
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
        return;
    }
    if (descriptor == AT_FDCWD) {
        if (!getcwd(folder, sizeof folder)) folder[0] = 0;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
        length = readlink(link, folder, sizeof folder - 1);
        folder[length < 0 ? 0 : length] = 0;
    }
    while (!strncmp(name, "./", 2)) name += 2;
    snprintf(path, PATH_MAX, "%.2000s%s%.2000s", folder, name[0] ? "/" : "", name);
}

static void note(const char *operation, const char *one, const char *two) {
    char path[PATH_MAX], line[3 * PATH_MAX];
    int log, length;
    snprintf(path, sizeof path, "%s/log", getenv("K600_POWER_LOG"));
    log = REAL(open)(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    length = snprintf(line, sizeof line, "%s\t%s\t%s\n", operation, one, two);
    if (log < 0 || write(log, line, length) != length) abort();
    REAL(close)(log);
}

/* Keep what an open file holds; write the name of the copy. */
static void keep(int descriptor, char *copy) {
    char path[PATH_MAX], buffer[1 << 16];
    int from, to;
    ssize_t count;
    sprintf(copy, "%d", number++);
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    from = REAL(open)(path, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof path, "%s/%s", getenv("K600_POWER_LOG"), copy);
    to = REAL(open)(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (from < 0 || to < 0) abort();
    while ((count = read(from, buffer, sizeof buffer)) > 0)
        if (write(to, buffer, count) != count) abort();
    REAL(close)(from);
    REAL(close)(to);
}

/* Whether a descriptor is a file or folder below the root that still has a name; write its path. */
static int named(int descriptor, char *path, struct stat *status) {
    if (!getenv("K600_POWER_ROOT") || fstat(descriptor, status) || !status->st_nlink) return 0;
    if (!S_ISREG(status->st_mode) && !S_ISDIR(status->st_mode)) return 0;
    resolve(descriptor, "", path);
    return inside(path);
}

static int opened(int descriptor, int flags) {
    char path[PATH_MAX];
    struct stat status;
    if (descriptor >= 0 && (flags & O_ACCMODE) != O_RDONLY && named(descriptor, path, &status))
        note("open", path, flags & O_TRUNC ? "cut" : "");
    return descriptor;
}

#define OPEN(name, first, passed)                                                                 \
    int name(first, int flags, ...) {                                                             \
        va_list more;                                                                             \
        va_start(more, flags);                                                                    \
        int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, int) : 0;                         \
        va_end(more);                                                                             \
        BEGIN;                                                                                    \
        int result = opened(REAL(name) passed, flags);                                            \
        END;                                                                                      \
        return result;                                                                            \
    }
#define COMMA ,
OPEN(open, const char *path, (path, flags, mode))
OPEN(open64, const char *path, (path, flags, mode))
OPEN(openat, int folder COMMA const char *path, (folder, path, flags, mode))
OPEN(openat64, int folder COMMA const char *path, (folder, path, flags, mode))

int close(int descriptor) {
    char path[PATH_MAX], copy[32];
    struct stat status;
    BEGIN;
    int flags = fcntl(descriptor, F_GETFL);
    if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY && named(descriptor, path, &status)) {
        keep(descriptor, copy);
        note("close", path, copy);
    }
    int result = REAL(close)(descriptor);
    END;
    return result;
}

#define SYNC(name)                                                                                \
    int name(int descriptor) {                                                                    \
        char path[PATH_MAX], copy[32] = "";                                                       \
        struct stat status;                                                                       \
        BEGIN;                                                                                    \
        int mine = named(descriptor, path, &status);                                              \
        if (mine && S_ISREG(status.st_mode)) keep(descriptor, copy);                              \
        int result = REAL(name)(descriptor);                                                      \
        if (mine && !result) note("sync", path, copy);                                            \
        END;                                                                                      \
        return result;                                                                            \
    }
SYNC(fsync)
SYNC(fdatasync)

static int moved(int result, int folder, const char *from, int other, const char *to) {
    char one[PATH_MAX], two[PATH_MAX];
    resolve(folder, from, one);
    resolve(other, to, two);
    if (!result && (inside(one) || inside(two))) note("rename", one, two);
    return result;
}

int rename(const char *from, const char *to) {
    BEGIN;
    int result = moved(REAL(rename)(from, to), AT_FDCWD, from, AT_FDCWD, to);
    END;
    return result;
}

int renameat(int folder, const char *from, int other, const char *to) {
    BEGIN;
    int result = moved(REAL(renameat)(folder, from, other, to), folder, from, other, to);
    END;
    return result;
}

static int named_only(int result, const char *operation, int folder, const char *path) {
    char one[PATH_MAX];
    resolve(folder, path, one);
    if (!result && inside(one)) note(operation, one, "");
    return result;
}

#define NAME(name, parameters, passed, operation, folder, path)                                   \
    int name parameters {                                                                         \
        BEGIN;                                                                                    \
        int result = named_only(REAL(name) passed, operation, folder, path);                      \
        END;                                                                                      \
        return result;                                                                            \
    }
NAME(mkdir, (const char *path, mode_t mode), (path, mode), "mkdir", AT_FDCWD, path)
NAME(mkdirat, (int at, const char *path, mode_t mode), (at, path, mode), "mkdir", at, path)
NAME(unlink, (const char *path), (path), "remove", AT_FDCWD, path)
NAME(unlinkat, (int at, const char *path, int flags), (at, path, flags), "remove", at, path)
NAME(rmdir, (const char *path), (path), "remove", AT_FDCWD, path)
NAME(link, (const char *from, const char *path), (from, path), "link", AT_FDCWD, path)
NAME(symlink, (const char *from, const char *path), (from, path), "link", AT_FDCWD, path)
