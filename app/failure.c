#include "app/failure.h"

#include "app/exit.h"
#include "quic/errors.h"
#include "quic/tls.h"
#include "tun/tun.h"

/* We closed it; a TLS alert of ours is about the server's certificate as a rule. */
static struct failure ours(const struct quic_close_info *info, const struct attempt_env *env)
{
    struct failure f = {EXIT_PROTOCOL, false};
    uint64_t alert = info->code - QUIC_CRYPTO_ERROR;

    f.hopeless = !info->app && info->code >= QUIC_CRYPTO_ERROR && alert < 0x100;
    if (f.hopeless && alert >= TLS_ALERT_BAD_CERTIFICATE && alert <= TLS_ALERT_UNKNOWN_CA)
        f.status = EXIT_CERT;
    else if (env->peer->ticket.offered) /* perhaps without the former session */
        f.hopeless = false;
    LOG_AT(env->log, LOG_ERROR, "%s", info->text);
    return f;
}

struct failure failure_closed(const struct attempt *a, const struct attempt_env *env)
{
    struct quic_close_info info;
    char text[UDP_ADDR_TEXT];

    udp_addr_text(&a->remote, text, sizeof(text));
    quic_close_info(a->session.quic, &info);
    switch (info.kind) {
    case QUIC_CLOSE_HANDSHAKE:
        LOG_AT(env->log, LOG_WARN,
               "%s does not answer: is the server running, and UDP port %u open on the way?",
               text, env->peer->port);
        return (struct failure){EXIT_NO_ANSWER, false};
    case QUIC_CLOSE_IDLE:
    case QUIC_CLOSE_RESET:
        LOG_AT(env->log, LOG_WARN, "connection to %s lost: %s", text,
               info.kind == QUIC_CLOSE_IDLE ? "the server fell silent"
                                            : "the server restarted");
        return (struct failure){EXIT_NO_ANSWER, false};
    case QUIC_CLOSE_LOCAL:
        return ours(&info, env);
    default:
        /* Some servers refuse a key by no more than this. */
        LOG_AT(env->log, LOG_WARN, "the server closed the connection%s%s%s",
               *info.text ? ": " : "", info.text,
               a->session.requested && !a->session.open
                   ? " instead of an answer; is the key right?"
                   : "");
        return (struct failure){EXIT_PROTOCOL, false};
    }
}

struct failure failure_refused(const struct masque_response *r, const struct log *log)
{
    bool full = r->reply == MASQUE_REPLY_FULL, auth = r->reply == MASQUE_REPLY_AUTH;

    LOG_AT(log, LOG_ERROR, "the server refused (status %d): %s%s", r->status,
           masque_reply_text(r->reply),
           auth   ? "; check --auth-key-file or --auth-key"
           : full ? "; no address is free, try later"
                  : "");
    return (struct failure){auth ? EXIT_AUTH : full ? EXIT_FULL : EXIT_PROTOCOL, !full};
}

struct failure failure_ended(const struct attempt *a, const struct log *log)
{
    if (a->session.open) {
        LOG_AT(log, LOG_WARN, "the server ended the tunnel");
        return (struct failure){EXIT_PROTOCOL, false};
    }
    LOG_AT(log, LOG_ERROR,
           "the server dropped the request without an answer, as some do for a wrong key; "
           "check --auth-key-file or --auth-key");
    return (struct failure){EXIT_AUTH, false};
}

struct failure failure_unopened(const struct attempt *a, const struct log *log, ns_t now)
{
    struct quic_path_view v = {0};
    bool small = false;
    size_t n = 0;

    if (a->session.open) {
        cip_assigned(&a->session.cip, &n);
        quic_path_view(a->session.quic, 0, now, &v);
        small = n > 0;
    }
    if (small)
        LOG_AT(
            log, LOG_ERROR,
            "the way to the server is too narrow: its packets carry %zu bytes, which leaves "
            "%zu for the tunnel, and IP needs %d; raise the MTU of %s or of what lies behind",
            v.mtu_bytes, session_mtu(&a->session), TUN_MTU_MIN, a->link.name);
    else
        LOG_AT(log, LOG_ERROR, "the server %s",
               a->session.open        ? "opened a tunnel, but gave no address"
               : a->session.requested ? "does not answer the request for a tunnel"
                                      : "speaks QUIC, but no HTTP/3");
    return (struct failure){a->session.open ? EXIT_PROTOCOL : EXIT_NO_ANSWER, small};
}

struct failure failure_unfit(const struct log *log)
{
    LOG_AT(log, LOG_ERROR,
           "this HTTP/3 server carries no IP (CONNECT-IP): wrong host or port?");
    return (struct failure){EXIT_PROTOCOL, true};
}

struct failure failure_no_link(const struct attempt_env *env)
{
    const struct config_list *paths = &env->cfg->paths;
    char text[UDP_ADDR_TEXT];

    udp_addr_text(peer_addr(env->peer), text, sizeof(text));
    if (paths->n > 0)
        LOG_AT(env->log, LOG_WARN,
               "--path %s%s: there is no such interface, it is down, or has no way to %s",
               paths->item[0], paths->n > 1 ? ", ..." : "", text);
    else
        LOG_AT(env->log, LOG_WARN, "no interface leads to %s", text);
    return (struct failure){paths->n > 0 ? EXIT_BIND : EXIT_NO_ANSWER, false};
}
