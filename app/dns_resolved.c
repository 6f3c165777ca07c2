#include "app/dns_resolved.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RESOLVED_DIR "/run/systemd/resolve"
#define WORDS_MAX    200 /* of what the program says when it fails */
#define REAP_WAIT_NS (5 * NS_PER_MS)

extern char **environ;

static ns_t clock_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (ns_t)t.tv_sec * NS_PER_S + (ns_t)t.tv_nsec;
}

/* ---- running the program ---- */

/* Start `argv` with stderr on `err_fd`, no other descriptors, signals as at birth. */
static int start(char *const *argv, int err_fd, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t all, none;
    int err;

    sigfillset(&all);
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, err_fd, 2);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    err = posix_spawn(pid, argv[0], &actions, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return -err;
}

/* Read what it says until it closes the pipe or the time is up. */
static void listen_to(int fd, ns_t until, char *words, size_t size)
{
    size_t n = 0;

    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ns_t left = ns_sub(until, clock_now());
        char buf[256];
        ssize_t got;

        if (left == 0 || poll(&p, 1, (int)(left / NS_PER_MS) + 1) < 0)
            break;
        if (!p.revents)
            continue;
        got = read(fd, buf, sizeof(buf));
        if (got <= 0)
            break;
        for (ssize_t i = 0; i < got && n + 1 < size; i++)
            words[n++] = buf[i] >= ' ' && buf[i] < 127 ? buf[i] : ' ';
    }
    while (n > 0 && words[n - 1] == ' ')
        n--;
    words[n] = '\0';
}

/* Wait for its end. Returns its wait status, or -ETIMEDOUT after ending it, or -errno. */
static int reap(pid_t pid, ns_t until)
{
    struct timespec pause = {.tv_nsec = REAP_WAIT_NS};
    int status;

    for (;;) {
        pid_t got = waitpid(pid, &status, WNOHANG);

        if (got == pid)
            return status;
        if (got < 0 && errno != EINTR)
            return -errno;
        if (clock_now() >= until)
            break;
        nanosleep(&pause, NULL);
    }
    kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return -ETIMEDOUT;
}

static int run(char *const *argv, char *why, size_t why_size)
{
    ns_t until = ns_add(clock_now(), RESOLVED_WAIT_MS * NS_PER_MS);
    char words[WORDS_MAX] = "";
    int pipe_fd[2], rc;
    pid_t pid;

    if (pipe2(pipe_fd, O_CLOEXEC))
        return why_set(why, why_size, -errno, "can't run %s: %s", argv[0], strerror(errno));
    rc = start(argv, pipe_fd[1], &pid);
    close(pipe_fd[1]);
    if (!rc) {
        listen_to(pipe_fd[0], until, words, sizeof(words));
        rc = reap(pid, until);
    } else {
        why_set(why, why_size, rc, "can't run %s: %s", argv[0], strerror(-rc));
        close(pipe_fd[0]);
        return rc;
    }
    close(pipe_fd[0]);
    if (rc == -ETIMEDOUT)
        return why_set(why, why_size, rc, "'%s %s' did not end within %d s", argv[0], argv[1],
                       RESOLVED_WAIT_MS / 1000);
    if (rc < 0)
        return why_set(why, why_size, rc, "'%s %s' was lost: %s", argv[0], argv[1],
                       strerror(-rc));
    if (rc == 0)
        return 0;
    return why_set(why, why_size, -EIO, "'%s %s' failed: %s", argv[0], argv[1],
                   words[0] ? words : "no reason given");
}

/* ---- whether resolved serves ---- */

static bool executable(const char *path, char program[RESOLVED_PATH])
{
    if (strlen(path) >= RESOLVED_PATH || access(path, X_OK))
        return false;
    strcpy(program, path);
    return true;
}

static bool find_program(const struct dns_cfg *cfg, char program[RESOLVED_PATH])
{
    static const char *const places[] = {
        "/usr/bin/resolvectl",
        "/bin/resolvectl",
        "/usr/local/bin/resolvectl",
        "/run/current-system/sw/bin/resolvectl",
    };

    if (cfg->resolvectl)
        return cfg->resolvectl[0] && executable(cfg->resolvectl, program);
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        if (executable(places[i], program))
            return true;
    }
    return false;
}

/* Whether the file is a link to one in `dir`. */
static bool links_into(const char *path, const char *dir)
{
    char file[PATH_MAX], real[PATH_MAX];
    size_t n;

    if (!realpath(path, file) || !realpath(dir, real))
        return false;
    n = strlen(real);
    return !strncmp(file, real, n) && file[n] == '/';
}

/* Whether the file names resolved's stub as server. */
static bool names_stub(const char *path)
{
    char line[256];
    bool found = false;
    FILE *f = fopen(path, "re");

    while (f && !found && fgets(line, sizeof(line), f)) {
        char word[32], value[64];

        found = sscanf(line, "%31s %63s", word, value) == 2 && !strcmp(word, "nameserver") &&
                !strcmp(value, "127.0.0.53");
    }
    if (f)
        fclose(f);
    return found;
}

bool resolved_serves(const struct dns_cfg *cfg, char program[RESOLVED_PATH])
{
    const char *dir = cfg->resolved_dir ? cfg->resolved_dir : RESOLVED_DIR;
    const char *path = cfg->path ? cfg->path : DNS_PATH;

    return access(dir, F_OK) == 0 && (links_into(path, dir) || names_stub(path)) &&
           find_program(cfg, program);
}

/* ---- its settings ---- */

int resolved_apply(const char *program, const struct dns_cfg *cfg, char *why, size_t why_size)
{
    char path[RESOLVED_PATH], tun[64], addr[DNS_SERVERS_MAX][TUN_ADDR_TEXT];
    char dns[] = "dns", domain[] = "domain", all[] = "~.", route[] = "default-route";
    char yes[] = "yes";
    char *set[DNS_SERVERS_MAX + 4] = {path, dns, tun};
    char *const names[] = {path, domain, tun, all, NULL};
    char *const first[] = {path, route, tun, yes, NULL};
    int err;

    snprintf(path, sizeof(path), "%s", program);
    snprintf(tun, sizeof(tun), "%s", cfg->tun_name);
    for (size_t i = 0; i < cfg->n_servers; i++) {
        tun_addr_text(&cfg->servers[i], addr[i]);
        set[3 + i] = addr[i];
    }
    err = run(set, why, why_size);
    if (!err)
        err = run(names, why, why_size);
    if (err) {
        resolved_revert(program, cfg->tun_name, NULL, 0);
        return err;
    }
    run(first, NULL, 0); /* systemd before 240 lacks it; the domain "~." does the same */
    return 0;
}

int resolved_revert(const char *program, const char *tun_name, char *why, size_t why_size)
{
    char path[RESOLVED_PATH], tun[64], revert[] = "revert";
    char *const argv[] = {path, revert, tun, NULL};

    snprintf(path, sizeof(path), "%s", program);
    snprintf(tun, sizeof(tun), "%s", tun_name);
    return run(argv, why, why_size);
}
