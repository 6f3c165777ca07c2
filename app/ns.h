/*
 * ns - anonymous network namespaces, and children that run in them.
 *
 * A namespace is made by a short-lived child and from then on held by descriptors of this
 * process only: it has no name, no mount, and vanishes with the last process that uses it,
 * however that ends. As root a network namespace is all; without root a user namespace of
 * its own is wrapped around it, in which the caller is root.
 *
 * Children are forked by this process itself (so that it can wait for them), enter the
 * namespace, and die with it: PR_SET_PDEATHSIG, and a lifeline, the read end of a pipe
 * whose other end only this process holds. Closing it (ns_child_ask) asks the child to
 * finish.
 *
 * Invariant: no child of ns_run holds the lifeline of another; to keep it, this module
 * remembers the lifelines that are open, which makes it one for a single thread.
 */
#ifndef APP_NS_H
#define APP_NS_H

#include <sys/types.h>

#include "quic/types.h"

struct ns {
    int net;  /* the namespace; -1: none */
    int user; /* its user namespace, or -1 as root */
};

#define NS_NONE ((struct ns){-1, -1})

/*
 * Make a network namespace with its loopback up.
 *
 * Returns 0, or a negative errno with a sentence for the user in `why`: -EPERM and -ENOSPC
 * where the system forbids it, naming the sysctl or the capability; -ENOSYS without kernel
 * support; others with the system's own text. `*ns` is NS_NONE then.
 */
int ns_new(struct ns *ns, char *why, size_t why_size);

/* Let go of it. Closing NS_NONE is fine. */
void ns_del(struct ns *ns);

/*
 * Put the calling process, single-threaded, into `ns` for good. For use after a fork.
 * Returns 0 or a negative errno.
 */
int ns_enter(const struct ns *ns);

struct ns_child {
    pid_t pid;    /* 0: none */
    int lifeline; /* our end; -1 once the child was asked to finish */
};

/*
 * What a child runs; its return value is the exit status. `lifeline` becomes readable
 * (hang-up) when the parent closed its end or died.
 */
typedef int ns_main_fn(void *arg, int lifeline);

/*
 * Fork a child that runs `fn` with `arg` (its own copy of all memory) in `ns`, or in the
 * caller's namespace if `ns` is NULL. It is killed when this thread dies. Signals are
 * unblocked and set to default in it; stdio is not flushed, nor are exit handlers run.
 *
 * Returns 0, or a negative errno (fork or pipe failed) with a sentence in `why`. A child
 * that can't enter the namespace exits with 125.
 */
int ns_run(const struct ns *ns, ns_main_fn *fn, void *arg, struct ns_child *child, char *why,
           size_t why_size);

/* Ask the child to finish, by closing its lifeline. Once is enough; more does nothing. */
void ns_child_ask(struct ns_child *child);

/*
 * End a child: the lifeline is closed, after `grace` it is killed; it is reaped.
 * Returns its wait status, or -1 where there was none. `*child` is none afterwards.
 */
int ns_child_end(struct ns_child *child, ns_t grace);

/* Opens a descriptor in the namespace. Returns it, or a negative errno and says why. */
typedef int ns_open_fn(void *arg, char *why, size_t why_size);

/*
 * Run `fn` in a child in `ns` and get the descriptor that it opens (a TUN device, a socket,
 * anything: it goes on to act in that namespace).
 *
 * Returns 0 with `*fd` the caller's, or the negative errno of fn or of the system.
 */
int ns_open(const struct ns *ns, ns_open_fn *fn, void *arg, int *fd, char *why,
            size_t why_size);

/* A function to run in a namespace. Returns 0, or a negative errno and says why. */
typedef int ns_call_fn(void *arg, char *why, size_t why_size);

/*
 * Run `fn` in a child in `ns` to its end: for addresses, routes, sysctls. Changes that it
 * makes to memory are lost.
 *
 * Returns fn's result, or a negative errno when the child could not run or crashed (-ECHILD).
 */
int ns_call(const struct ns *ns, ns_call_fn *fn, void *arg, char *why, size_t why_size);

/* Bring an interface of the calling process's namespace up: 0 or a negative errno. */
int ns_link_up(const char *name);

#endif
