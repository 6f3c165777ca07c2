/*
 * get - fetch files by our QUIC and HTTP/3 in the client role.
 *
 *   get [-k] [-m] [-p] [-a] [-r] ADDRESS PORT NAME PATH...   all at once; the bodies go to stdout in turn
 *
 * -k updates the keys on the way, -m moves to another local port, both as soon as that is
 * allowed; -p opens a second path by multipath from another local port, -a does too and then
 * abandons the first. It is an error if that never was allowed. -r makes a connection before,
 * whose TLS session, and token if it gave one, are then used: it is an error if it gave no
 * session. NAME is the authority. Prints one line for each response to stderr. Exit status: 0
 * if every answer was 200 and complete, 1 if not, 2 if the connection failed or took over a
 * minute.
 */
#include "test/e2e/h3c.h"

#define PATHS_MAX 32
#define PATIENCE  (60 * NS_PER_S)

struct body {
    char *p;
    size_t n, cap;
    unsigned status;
    bool over;
};

static int append(struct body *b, struct span s)
{
    if (b->n + s.n > b->cap) {
        size_t cap = (b->n + s.n) * 2;
        char *grown = realloc(b->p, cap);
        if (!grown)
            return -1;
        b->p = grown;
        b->cap = cap;
    }
    memcpy(b->p + b->n, s.p, s.n);
    b->n += s.n;
    return 0;
}

static int ask(struct h3c *c, const char *name, const char *path, uint64_t *id)
{
    struct h3_field f[] = {H3_FIELD_LIT(":method", "GET"), H3_FIELD_LIT(":scheme", "https"),
                           h3_field_str(":authority", name), h3_field_str(":path", path),
                           H3_FIELD_LIT("user-agent", "mqvpn-test")};

    return h3_request(c->h3, f, ARRAY_LEN(f), true, id);
}

static void on_event(const struct h3_event *ev, struct body *body, int n)
{
    struct body *b = ev->stream_id / 4 < (uint64_t)n ? &body[ev->stream_id / 4] : NULL;

    if (!b)
        return;
    switch (ev->type) {
    case H3_EV_HEADERS:
        if (!ev->trailers && !ev->informational)
            b->status = ev->status;
        break;
    case H3_EV_DATA:
        if (append(b, ev->data))
            b->over = true;
        break;
    case H3_EV_FIN:
        b->over = true;
        break;
    case H3_EV_RESET:
    case H3_EV_ABORT:
        b->over = true;
        b->status = 0;
        break;
    default:
        break;
    }
}

static int all_over(const struct body *b, int n)
{
    for (int i = 0; i < n; i++)
        if (!b[i].over)
            return 0;
    return 1;
}

/* What is to be done on the way, as soon as it may be. */
static void on_the_way(struct h3c *c, bool *update, bool *move, bool *second, bool *leave)
{
    struct quic_stats st;

    if (*update && quic_key_update(c->quic) == 0) {
        quic_stats(c->quic, &st);
        fprintf(stderr, "key update %llu\n", (unsigned long long)st.key_updates);
        *update = false;
    }
    if (*move && h3c_move(c)) {
        fprintf(stderr, "moved to port %u\n", c->route.local.port);
        *move = false;
    }
    if (*second && c->more_valid) {
        fprintf(stderr, "second path from port %u\n", c->more.local.port);
        *second = false;
    }
    if (*leave && c->more_valid &&
        mp_abandon(c->quic, 0, MP_APPLICATION_ABANDON_PATH, h3c_now()) == 0) {
        fprintf(stderr, "abandoned the first path\n");
        *leave = false;
    }
}

/* A connection for what it leaves behind, to be used by `c`. 0, or -1 with a word to stderr. */
static int former(struct h3c *c, const char *ip, uint16_t port, const char *name)
{
    static uint8_t session[TLS_SESSION_MAX], token[QUIC_TOKEN_MAX];
    struct h3c first = {0};
    struct h3_event ev;
    struct span s, t;

    if (h3c_open(&first, ip, port, name))
        return -1;
    /* Tickets come after the handshake: what is there a second later is taken. */
    for (ns_t until = h3c_now() + NS_PER_S; h3c_next(&first, &ev, until) > 0;)
        ;
    s = quic_new_session(first.quic);
    t = quic_new_token(first.quic);
    fprintf(stderr, "a session of %zu bytes, a token of %zu\n", s.n, t.n);
    if (s.n)
        c->session = span_of(memcpy(session, s.p, s.n), s.n);
    if (t.n)
        c->token = span_of(memcpy(token, t.p, t.n), t.n);
    h3c_close(&first);
    return s.n ? 0 : -1;
}

static void views(struct h3c *c)
{
    struct quic_path_view v;

    for (size_t i = 0; i < quic_path_count(c->quic); i++)
        if (quic_path_view(c->quic, i, h3c_now(), &v) == 0)
            fprintf(stderr, "path %u: %llu packets received, %llu sent, %llu lost, mtu %zu\n",
                    v.id, (unsigned long long)v.packets_received,
                    (unsigned long long)v.packets_sent, (unsigned long long)v.packets_lost,
                    v.mtu_bytes);
}

int main(int argc, char **argv)
{
    bool update = false, move = false, second = false, leave = false, again = false;
    int option;

    while ((option = getopt(argc, argv, "+kmpar")) != -1) {
        update |= option == 'k';
        move |= option == 'm';
        second |= option == 'p' || option == 'a';
        leave |= option == 'a';
        again |= option == 'r';
    }
    argv += optind - 1;
    argc -= optind - 1;

    struct body body[PATHS_MAX] = {0};
    int n = argc - 4, rc = 1, bad = 0;
    ns_t until = h3c_now() + PATIENCE;
    struct h3_event ev;
    struct h3c c = {.multipath = second};

    if (n < 1 || n > PATHS_MAX) {
        fprintf(stderr, "usage: get [-k] [-m] [-p] [-a] [-r] ADDRESS PORT NAME PATH...\n");
        return 2;
    }
    if (again && former(&c, argv[1], (uint16_t)atoi(argv[2]), argv[3]))
        return 2;
    if (h3c_open(&c, argv[1], (uint16_t)atoi(argv[2]), argv[3]))
        return 2;
    for (int i = 0; i < n; i++) {
        uint64_t id;
        if (ask(&c, argv[3], argv[4 + i], &id) || id != (uint64_t)i * 4) {
            fprintf(stderr, "can't ask for %s\n", argv[4 + i]);
            return 2;
        }
    }
    while (!all_over(body, n) && (rc = h3c_next(&c, &ev, until)) > 0) {
        on_event(&ev, body, n);
        on_the_way(&c, &update, &move, &second, &leave);
    }
    if (rc <= 0)
        fprintf(stderr, "%s\n", rc ? c.closed : "no complete answer in a minute");
    for (int i = 0; i < n; i++) {
        fprintf(stderr, "%s: status %u, %zu bytes%s\n", argv[4 + i], body[i].status, body[i].n,
                body[i].over ? "" : ", incomplete");
        bad |= body[i].status != 200 || !body[i].over;
        fwrite(body[i].p, 1, body[i].n, stdout);
        free(body[i].p);
    }
    if (again)
        fprintf(stderr, "%s\n", quic_is_resumed(c.quic) ? "resumed" : "not resumed");
    if (c.multipath)
        views(&c);
    if (update || move || second || leave)
        fprintf(stderr, "no %s was allowed\n",
                update ? "key update"
                : move ? "move"
                       : "second path");
    bad |= update || move || second || leave;
    h3c_close(&c);
    return rc <= 0 ? 2 : bad || fflush(stdout) != 0;
}
