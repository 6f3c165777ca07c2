/*
 * failure - why a client has no tunnel: said in words that help, and what follows from it.
 *
 * Each function tells the log, and returns the exit status that it would end with, and whether
 * another time would be no better.
 */
#ifndef APP_FAILURE_H
#define APP_FAILURE_H

#include "app/attempt.h"
#include "masque/request.h"

struct failure {
    int status; /* app/exit.h */
    bool hopeless;
};

/* The connection is over: quic_close_info says why. */
struct failure failure_closed(const struct attempt *a, const struct attempt_env *env);

/* The server's answer is a refusal. */
struct failure failure_refused(const struct masque_response *r, const struct log *log);

/* The tunnel's stream is over. A reset can overtake the refusal that it follows. */
struct failure failure_ended(const struct attempt *a, const struct log *log);

/* Connected for long, and still no tunnel: what is missing. */
struct failure failure_unopened(const struct attempt *a, const struct log *log, ns_t now);

/* The server carries no IP. */
struct failure failure_unfit(const struct log *log);

/* No link leads to the server. */
struct failure failure_no_link(const struct attempt_env *env);

#endif
