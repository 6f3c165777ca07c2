#include "masque/connect_ip.h"

#include <stdlib.h>
#include <string.h>

#define WANTED                                                                                 \
    (1u << CAPSULE_DATAGRAM | 1u << CAPSULE_ADDRESS_ASSIGN | 1u << CAPSULE_ADDRESS_REQUEST |   \
     1u << CAPSULE_ROUTE_ADVERTISEMENT)
#define RANGE_MIN   10   /* shortest IP Address Range on the wire */
#define KEEP_BUFFER 4096 /* an output buffer above it is given back once it is drained */

int cip_init(struct cip *c, const struct cip_config *cfg)
{
    memset(c, 0, sizeof(*c));
    c->cfg = *cfg;
    c->head.len = (uint8_t)masque_dgram_prefix(cfg->stream_id, 0, c->head.b);
    if (c->head.len == 0)
        return QUIC_INVAL;
    if (c->cfg.icmp_rate == 0 || c->cfg.icmp_burst == 0) {
        c->cfg.icmp_rate = 100;
        c->cfg.icmp_burst = 50;
    }
    icmp_limit_init(&c->limit, c->cfg.icmp_rate, c->cfg.icmp_burst);
    capsule_reader_init(&c->reader, WANTED, ipcapsule_routes_size(CIP_RANGES_MAX),
                        8 + CIP_PACKET_MAX);
    c->reader.also = CAPSULE_PATH_RATES;
    routes_init(&c->our_routes);
    routes_init(&c->their_routes);
    c->next_request = 1;
    return 0;
}

void cip_free(struct cip *c)
{
    capsule_reader_free(&c->reader);
    routes_free(&c->our_routes);
    routes_free(&c->their_routes);
    free(c->out);
    c->out = NULL;
    c->out_at = c->out_n = c->out_cap = 0;
}

void cip_set_self(struct cip *c, const struct ip_addr *v4, const struct ip_addr *v6)
{
    c->self[0] = v4 && v4->version == 4 ? *v4 : (struct ip_addr){0};
    c->self[1] = v6 && v6->version == 6 ? *v6 : (struct ip_addr){0};
}

void cip_set_mtu(struct cip *c, size_t mtu)
{
    c->mtu = mtu;
}

/* --- lists ------------------------------------------------------------------------- */

static bool same_assign(const struct ip_assign *a, const struct ip_assign *b)
{
    return a->request_id == b->request_id && a->prefix.len == b->prefix.len &&
           ip_addr_equal(&a->prefix.addr, &b->prefix.addr);
}

/* Append the entries of `version` to a list of at most CIP_PREFIXES_MAX. */
static int append_family(struct ip_assign *list, size_t *n, const struct ip_assign *from,
                         size_t nfrom, uint8_t version)
{
    for (size_t i = 0; i < nfrom; i++) {
        if (from[i].prefix.addr.version != version)
            continue;
        if (*n == CIP_PREFIXES_MAX)
            return QUIC_TOOBIG;
        list[(*n)++] = from[i];
    }
    return 0;
}

static size_t find_id(const struct ip_assign *list, size_t n, uint64_t id)
{
    size_t i = 0;

    while (i < n && list[i].request_id != id)
        i++;
    return i;
}

/* Forget the request `id` of the peer; returns it, or zeroes if there is none. */
static struct ip_assign asked_remove(struct cip *c, uint64_t id)
{
    size_t i = find_id(c->asked, c->nasked, id);
    struct ip_assign a = {0};

    if (i == c->nasked)
        return a;
    a = c->asked[i];
    c->nasked--;
    memmove(&c->asked[i], &c->asked[i + 1], (c->nasked - i) * sizeof(c->asked[0]));
    if (i < c->npulled)
        c->npulled--;
    return a;
}

/* --- capsules from the peer -------------------------------------------------------- */

/* Our request `id` has its answer. Returns whether it was waiting for one. */
static bool request_answered(struct cip *c, uint64_t id)
{
    for (size_t i = 0; i < c->nopen; i++) {
        if (c->open[i] != id)
            continue;
        c->open[i] = c->open[--c->nopen];
        return true;
    }
    return false;
}

/*
 * Take the entries that assign something into `out`, and note the answers to our
 * requests. A host address that no packet can carry assigns nothing.
 */
static size_t usable_entries(struct cip *c, const struct ip_assign *in, size_t n,
                             struct ip_assign *out)
{
    size_t k = 0;

    for (size_t i = 0; i < n; i++) {
        struct ip_assign a = in[i];
        const struct ip_addr *addr = &a.prefix.addr;
        bool waiting = a.request_id != 0 && request_answered(c, a.request_id);

        if (ip_assign_refused(&a)) {
            if (waiting)
                c->refused[c->nrefused++] = a.request_id;
            continue;
        }
        if (!ip_prefix_canonical(&a.prefix)) /* the split quirk: an address, not a prefix */
            a.prefix = ip_prefix_host(addr);
        if (a.prefix.len == ip_bits(addr->version) &&
            (ip_bytes_martian(addr->version, addr->b) ||
             ip_bytes_link_local(addr->version, addr->b)))
            continue;
        out[k++] = a;
    }
    return k;
}

/* Whether a capsule with host bits is how a splitting peer shows itself. */
static bool shows_split(const struct cip *c, const struct ip_assign *list, size_t n,
                        const struct ip_assign_seen *seen)
{
    if (!c->cfg.split_quirk || seen->v4 || c->nours == 0)
        return false;
    for (size_t i = 0; i < n; i++)
        if (list[i].request_id != 0)
            return false;
    for (size_t i = 0; i < c->nours; i++)
        if (c->ours[i].prefix.addr.version != 4)
            return false;
    return true;
}

static int on_assign(struct cip *c, struct span value)
{
    struct ip_assign list[CIP_PREFIXES_MAX], next[CIP_PREFIXES_MAX];
    struct ip_assign_seen seen;
    size_t n, k = 0;
    int err =
        ipcapsule_parse_assign(value, c->cfg.split_quirk, list, CIP_PREFIXES_MAX, &n, &seen);

    if (err)
        return err;
    if (seen.host_bits && !c->split) {
        if (!shows_split(c, list, n, &seen))
            return MASQUE_H3_MESSAGE_ERROR;
        c->split = true;
    }
    n = usable_entries(c, list, n, list);
    for (uint8_t version = 4; version <= 6; version += 2) {
        bool keep = c->split && (seen.v4 || seen.v6) && !(version == 4 ? seen.v4 : seen.v6);

        if (append_family(next, &k, keep ? c->ours : list, keep ? c->nours : n, version))
            return MASQUE_H3_EXCESSIVE_LOAD;
    }
    for (size_t i = 0; k == c->nours && i < k; i++)
        c->addresses_changed = c->addresses_changed || !same_assign(&next[i], &c->ours[i]);
    c->addresses_changed = c->addresses_changed || k != c->nours;
    memcpy(c->ours, next, k * sizeof(next[0]));
    c->nours = k;
    return 0;
}

static int on_request(struct cip *c, struct span value)
{
    struct ip_assign list[CIP_REQUESTS_MAX];
    size_t n;
    int err = ipcapsule_parse_request(value, list, CIP_REQUESTS_MAX, &n);

    if (err)
        return err;
    for (size_t i = 0; i < n; i++)
        if (find_id(c->asked, c->nasked, list[i].request_id) < c->nasked)
            return MASQUE_H3_MESSAGE_ERROR;
    /* also counts refusals that the peer has not read: memory stays bounded */
    if (n > CIP_REQUESTS_MAX - c->nasked - c->nrefusing)
        return MASQUE_H3_EXCESSIVE_LOAD;
    memcpy(&c->asked[c->nasked], list, n * sizeof(list[0]));
    c->nasked += n;
    return 0;
}

static bool has_family(const struct ip_range *r, size_t n, uint8_t version)
{
    for (size_t i = 0; i < n; i++)
        if (r[i].start.version == version)
            return true;
    return false;
}

static size_t copy_family(struct ip_range *out, const struct ip_range *r, size_t n,
                          uint8_t version)
{
    size_t k = 0;

    for (size_t i = 0; i < n; i++)
        if (r[i].start.version == version)
            out[k++] = r[i];
    return k;
}

static bool same_ranges(const struct routes *t, const struct ip_range *r, size_t n)
{
    if (t->n != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (t->r[i].proto != r[i].proto || !ip_addr_equal(&t->r[i].start, &r[i].start) ||
            !ip_addr_equal(&t->r[i].end, &r[i].end))
            return false;
    return true;
}

/* Make `list` of `n` what the peer routes; a splitting peer's other family stays. */
static int take_routes(struct cip *c, const struct ip_range *list, size_t n,
                       struct ip_range *next)
{
    const struct routes *old = &c->their_routes;
    size_t k = 0;
    int err;

    for (uint8_t version = 4; version <= 6; version += 2) {
        bool keep = c->split && n > 0 && !has_family(list, n, version);

        k += keep ? copy_family(next + k, old->r, old->n, version)
                  : copy_family(next + k, list, n, version);
    }
    if (k > CIP_RANGES_MAX)
        return MASQUE_H3_EXCESSIVE_LOAD;
    if (same_ranges(old, next, k))
        return 0;
    err = routes_set(&c->their_routes, next, k);
    c->routes_changed = c->routes_changed || err == 0;
    return err;
}

static int on_routes(struct cip *c, struct span value)
{
    size_t n, max = value.n / RANGE_MIN + 1;
    struct ip_range *list;
    int err;

    if (max > CIP_RANGES_MAX)
        max = CIP_RANGES_MAX;
    list = malloc((2 * max + c->their_routes.n) * sizeof(*list));
    if (!list)
        return QUIC_NOMEM;
    err = ipcapsule_parse_routes(value, list, max, &n);
    if (err == 0)
        err = take_routes(c, list, n, list + max);
    free(list);
    return err;
}

static int on_rates(struct cip *c, struct span value)
{
    struct path_rate list[CIP_RATES_MAX];
    size_t n;
    int err = ipcapsule_parse_rates(value, list, CIP_RATES_MAX, &n);

    if (err || path_rates_equal(list, n, c->their_rates, c->ntheir_rates))
        return err;
    memcpy(c->their_rates, list, n * sizeof(list[0]));
    c->ntheir_rates = n;
    c->rates_changed = true;
    return 0;
}

int cip_recv(struct cip *c, struct span *in, struct span *dgram)
{
    *dgram = span_of(NULL, 0);
    for (;;) {
        struct capsule cap;
        int err = capsule_next(&c->reader, in, &cap);

        if (err)
            return err == QUIC_AGAIN ? 0 : err;
        c->stats.capsules++;
        switch (cap.type) {
        case CAPSULE_DATAGRAM:
            *dgram = cap.value;
            if (cap.value.n > 0)
                return 0;
            c->stats.in[CIP_MALFORMED]++;
            break;
        case CAPSULE_ADDRESS_ASSIGN:
            err = on_assign(c, cap.value);
            break;
        case CAPSULE_ADDRESS_REQUEST:
            err = on_request(c, cap.value);
            break;
        case CAPSULE_PATH_RATES:
            err = on_rates(c, cap.value);
            break;
        default:
            err = on_routes(c, cap.value);
            break;
        }
        if (err)
            return err;
    }
}

int cip_recv_end(const struct cip *c)
{
    return capsule_end(&c->reader);
}

bool cip_next_event(struct cip *c, struct cip_event *ev)
{
    memset(ev, 0, sizeof(*ev));
    if (c->addresses_changed) {
        c->addresses_changed = false;
        ev->type = CIP_ADDRESSES;
    } else if (c->routes_changed) {
        c->routes_changed = false;
        ev->type = CIP_ROUTES;
    } else if (c->rates_changed) {
        c->rates_changed = false;
        ev->type = CIP_RATES;
    } else if (c->npulled < c->nasked) {
        ev->type = CIP_REQUESTED;
        ev->request = c->asked[c->npulled++];
    } else if (c->nrefused > 0) {
        ev->type = CIP_REFUSED;
        ev->request.request_id = c->refused[0];
        c->nrefused--;
        memmove(c->refused, c->refused + 1, c->nrefused * sizeof(c->refused[0]));
    } else {
        return false;
    }
    return true;
}

/* --- capsules to the peer ---------------------------------------------------------- */

/* Whether there is something to write. */
static bool any_due(const struct cip *c)
{
    return c->nasking > 0 || c->assign_due || c->routes_due || c->rates_due;
}

/* Make sure that lists of these lengths can be written when their turn comes, and any rates. */
static int reserve(struct cip *c, size_t addresses, size_t ranges, size_t requests)
{
    size_t need = ipcapsule_addresses_size(addresses) + ipcapsule_routes_size(ranges) +
                  ipcapsule_addresses_size(requests) + ipcapsule_rates_size(CIP_RATES_MAX);
    uint8_t *out;

    if (need <= c->out_cap)
        return 0;
    out = realloc(c->out, need);
    if (!out)
        return QUIC_NOMEM;
    c->out = out;
    c->out_cap = need;
    return 0;
}

int cip_assign(struct cip *c, const struct ip_assign *list, size_t n)
{
    if (n > CIP_PREFIXES_MAX)
        return QUIC_TOOBIG;
    for (size_t i = 0; i < n; i++)
        if (!ip_prefix_valid(&list[i].prefix) || !ip_prefix_canonical(&list[i].prefix) ||
            list[i].request_id > VARINT_MAX || ip_assign_refused(&list[i]))
            return QUIC_INVAL;
    if (reserve(c, n + c->nrefusing, c->our_routes.n, c->nasking))
        return QUIC_NOMEM;
    c->ntheirs = 0;
    append_family(c->theirs, &c->ntheirs, list, n, 4);
    append_family(c->theirs, &c->ntheirs, list, n, 6);
    for (size_t i = 0; i < n; i++)
        asked_remove(c, list[i].request_id);
    c->assign_due = true;
    return 0;
}

int cip_refuse(struct cip *c, uint64_t request_id)
{
    struct ip_assign no;

    if (find_id(c->asked, c->nasked, request_id) == c->nasked)
        return QUIC_INVAL;
    if (reserve(c, c->ntheirs + c->nrefusing + 1, c->our_routes.n, c->nasking))
        return QUIC_NOMEM;
    no = asked_remove(c, request_id);
    memset(no.prefix.addr.b, 0, sizeof(no.prefix.addr.b));
    no.prefix = ip_prefix_host(&no.prefix.addr);
    c->refusing[c->nrefusing++] = no;
    c->assign_due = true;
    return 0;
}

int cip_advertise(struct cip *c, const struct ip_range *list, size_t n)
{
    size_t max = n > CIP_RANGES_MAX ? n : CIP_RANGES_MAX;
    struct ip_range *r = malloc(max * sizeof(*r));
    int k, err = 0;

    if (!r)
        return QUIC_NOMEM;
    if (n > 0)
        memcpy(r, list, n * sizeof(*r));
    k = ip_ranges_normalize(r, n, max);
    if (k < 0)
        err = k;
    else if (k > CIP_RANGES_MAX)
        err = QUIC_TOOBIG;
    else
        err = reserve(c, c->ntheirs + c->nrefusing, (size_t)k, c->nasking);
    if (err == 0)
        err = routes_set(&c->our_routes, r, (size_t)k);
    c->routes_due = c->routes_due || err == 0;
    free(r);
    return err;
}

int cip_request(struct cip *c, const struct ip_prefix *want, size_t n, uint64_t *ids)
{
    if (n == 0)
        return QUIC_INVAL;
    for (size_t i = 0; i < n; i++)
        if (!ip_prefix_valid(&want[i]) || !ip_prefix_canonical(&want[i]))
            return QUIC_INVAL;
    /* one place per request until its answer has been pulled */
    if (n > CIP_REQUESTS_MAX || c->nopen + c->nrefused + n > CIP_REQUESTS_MAX ||
        c->nasking + n > CIP_REQUESTS_MAX)
        return QUIC_BLOCKED;
    if (reserve(c, c->ntheirs + c->nrefusing, c->our_routes.n, c->nasking + n))
        return QUIC_NOMEM;
    for (size_t i = 0; i < n; i++) {
        uint64_t id = c->next_request++;

        c->asking[c->nasking++] = (struct ip_assign){id, want[i]};
        c->open[c->nopen++] = id;
        if (ids)
            ids[i] = id;
    }
    return 0;
}

int cip_tell_rates(struct cip *c, const struct path_rate *list, size_t n)
{
    if (n > CIP_RATES_MAX)
        return QUIC_TOOBIG;
    for (size_t i = 0; i < n; i++) {
        if (list[i].path > VARINT_MAX || list[i].kbps > VARINT_MAX)
            return QUIC_INVAL;
        if (path_rates_find(list, i, list[i].path))
            return QUIC_INVAL;
    }
    if (path_rates_equal(list, n, c->our_rates, c->nour_rates))
        return 0;
    if (reserve(c, c->ntheirs + c->nrefusing, c->our_routes.n, c->nasking))
        return QUIC_NOMEM;
    if (n > 0)
        memcpy(c->our_rates, list, n * sizeof(list[0]));
    c->nour_rates = n;
    c->rates_due = true;
    return 0;
}

/*
 * Write what is due into the drained buffer: addresses before routes (RFC 9484 9).
 * `reserve` has seen to the room.
 */
static void write_due(struct cip *c)
{
    struct wire_w w = wire_w_of(c->out, c->out_cap);

    if (c->nasking > 0)
        ipcapsule_write_addresses(&w, CAPSULE_ADDRESS_REQUEST, c->asking, c->nasking);
    if (c->assign_due) {
        struct ip_assign list[CIP_PREFIXES_MAX + CIP_REQUESTS_MAX];

        memcpy(list, c->theirs, c->ntheirs * sizeof(list[0]));
        memcpy(list + c->ntheirs, c->refusing, c->nrefusing * sizeof(list[0]));
        ipcapsule_write_addresses(&w, CAPSULE_ADDRESS_ASSIGN, list, c->ntheirs + c->nrefusing);
    }
    if (c->routes_due)
        ipcapsule_write_routes(&w, c->our_routes.r, c->our_routes.n);
    if (c->rates_due)
        ipcapsule_write_rates(&w, c->our_rates, c->nour_rates);
    c->nasking = c->nrefusing = 0;
    c->assign_due = c->routes_due = c->rates_due = false;
    c->out_at = 0;
    c->out_n = c->out_cap - wire_w_left(&w);
}

struct span cip_out_bytes(struct cip *c)
{
    if (c->out_at == c->out_n && any_due(c))
        write_due(c);
    return c->out_n > c->out_at ? span_of(c->out + c->out_at, c->out_n - c->out_at)
                                : span_of(NULL, 0);
}

void cip_out_done(struct cip *c, size_t n)
{
    c->out_at += n < c->out_n - c->out_at ? n : c->out_n - c->out_at;
    if (c->out_at < c->out_n || any_due(c) || c->out_cap <= KEEP_BUFFER)
        return;
    free(c->out);
    c->out = NULL;
    c->out_at = c->out_n = c->out_cap = 0;
}

/* --- views ------------------------------------------------------------------------- */

const struct ip_assign *cip_assigned(const struct cip *c, size_t *n)
{
    *n = c->nours;
    return c->ours;
}

const struct ip_range *cip_routes(const struct cip *c, size_t *n)
{
    *n = c->their_routes.n;
    return c->their_routes.r;
}

const struct path_rate *cip_rates(const struct cip *c, size_t *n)
{
    *n = c->ntheir_rates;
    return c->their_rates;
}

bool cip_address(const struct cip *c, uint8_t version, struct ip_addr *out)
{
    for (size_t i = 0; i < c->nours; i++) {
        if (c->ours[i].prefix.addr.version != version)
            continue;
        *out = c->ours[i].prefix.addr;
        return true;
    }
    return false;
}

static bool list_ok(const struct ip_assign *a, size_t n, size_t max)
{
    if (n > max)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!ip_prefix_valid(&a[i].prefix) || !ip_prefix_canonical(&a[i].prefix))
            return false;
    return true;
}

bool cip_check(const struct cip *c)
{
    size_t need = ipcapsule_addresses_size(c->ntheirs + c->nrefusing) +
                  ipcapsule_routes_size(c->our_routes.n) +
                  ipcapsule_addresses_size(c->nasking) + ipcapsule_rates_size(c->nour_rates);

    return list_ok(c->ours, c->nours, CIP_PREFIXES_MAX) &&
           list_ok(c->theirs, c->ntheirs, CIP_PREFIXES_MAX) &&
           list_ok(c->asked, c->nasked, CIP_REQUESTS_MAX) &&
           list_ok(c->refusing, c->nrefusing, CIP_REQUESTS_MAX) &&
           list_ok(c->asking, c->nasking, CIP_REQUESTS_MAX) && c->npulled <= c->nasked &&
           c->nasked + c->nrefusing <= CIP_REQUESTS_MAX &&
           c->nopen + c->nrefused <= CIP_REQUESTS_MAX && c->our_routes.n <= CIP_RANGES_MAX &&
           c->their_routes.n <= CIP_RANGES_MAX &&
           ip_ranges_normal(c->our_routes.r, c->our_routes.n) &&
           ip_ranges_normal(c->their_routes.r, c->their_routes.n) && c->out_at <= c->out_n &&
           c->out_n <= c->out_cap && c->nour_rates <= CIP_RATES_MAX &&
           c->ntheir_rates <= CIP_RATES_MAX && (!any_due(c) || need <= c->out_cap);
}
