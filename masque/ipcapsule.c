#include "masque/ipcapsule.h"

#include <string.h>

/* Longest entries: request ID, version, address, length; version, two addresses, protocol; path,
 * rate. */
#define ASSIGN_MAX (8 + 1 + 16 + 1)
#define RANGE_MAX  (1 + 16 + 16 + 1)
#define RATE_MAX   (8 + 8)

bool ip_assign_refused(const struct ip_assign *a)
{
    return a->request_id != 0 && a->prefix.len == ip_bits(a->prefix.addr.version) &&
           ip_bytes_unspecified(a->prefix.addr.version, a->prefix.addr.b);
}

/* Version and address; the reader fails on a version other than 4 and 6. */
static struct ip_addr read_addr(struct wire_r *r, uint8_t version)
{
    struct ip_addr a = {.version = version};

    if (ip_size(version) == 0)
        wire_r_fail(r);
    else
        wire_r_copy(r, a.b, ip_size(version));
    return a;
}

static struct ip_assign read_assign(struct wire_r *r)
{
    struct ip_assign a;

    a.request_id = wire_r_varint(r);
    a.prefix.addr = read_addr(r, wire_r_u8(r));
    a.prefix.len = wire_r_u8(r);
    if (!r->failed && !ip_prefix_valid(&a.prefix))
        wire_r_fail(r);
    return a;
}

int ipcapsule_parse_assign(struct span value, bool host_bits_pass, struct ip_assign *out,
                           size_t max, size_t *n, struct ip_assign_seen *seen)
{
    struct wire_r r = wire_r_span(value);
    struct ip_assign_seen s = {false, false, false};
    size_t k = 0;

    while (wire_r_left(&r) > 0) {
        struct ip_assign a = read_assign(&r);
        bool v6 = a.prefix.addr.version == 6;

        if (r.failed)
            return MASQUE_H3_MESSAGE_ERROR;
        if (!ip_prefix_canonical(&a.prefix)) {
            if (!v6 || !host_bits_pass)
                return MASQUE_H3_MESSAGE_ERROR;
            s.host_bits = true;
        }
        if (k == max)
            return MASQUE_H3_EXCESSIVE_LOAD;
        s.v6 = s.v6 || v6;
        s.v4 = s.v4 || !v6;
        out[k++] = a;
    }
    *n = k;
    *seen = s;
    return 0;
}

int ipcapsule_parse_request(struct span value, struct ip_assign *out, size_t max, size_t *n)
{
    struct wire_r r = wire_r_span(value);
    size_t k = 0;

    while (wire_r_left(&r) > 0) {
        struct ip_assign a = read_assign(&r);

        if (r.failed || a.request_id == 0 || !ip_prefix_canonical(&a.prefix))
            return MASQUE_H3_MESSAGE_ERROR;
        for (size_t i = 0; i < k; i++)
            if (out[i].request_id == a.request_id)
                return MASQUE_H3_MESSAGE_ERROR;
        if (k == max)
            return MASQUE_H3_EXCESSIVE_LOAD;
        out[k++] = a;
    }
    if (k == 0)
        return MASQUE_H3_MESSAGE_ERROR;
    *n = k;
    return 0;
}

int ipcapsule_parse_routes(struct span value, struct ip_range *out, size_t max, size_t *n)
{
    struct wire_r r = wire_r_span(value);
    size_t k = 0;

    while (wire_r_left(&r) > 0) {
        struct ip_range range;
        uint8_t version = wire_r_u8(&r);

        range.start = read_addr(&r, version);
        range.end = read_addr(&r, version);
        range.proto = wire_r_u8(&r);
        if (r.failed)
            return MASQUE_H3_MESSAGE_ERROR;
        if (k == max)
            return MASQUE_H3_EXCESSIVE_LOAD;
        out[k++] = range;
    }
    if (!ip_ranges_normal(out, k))
        return MASQUE_H3_MESSAGE_ERROR;
    *n = k;
    return 0;
}

const struct path_rate *path_rates_find(const struct path_rate *list, size_t n, uint64_t path)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].path == path)
            return &list[i];
    return NULL;
}

bool path_rates_equal(const struct path_rate *a, size_t na, const struct path_rate *b,
                      size_t nb)
{
    if (na != nb)
        return false;
    for (size_t i = 0; i < na; i++)
        if (a[i].path != b[i].path || a[i].kbps != b[i].kbps)
            return false;
    return true;
}

int ipcapsule_parse_rates(struct span value, struct path_rate *out, size_t max, size_t *n)
{
    struct wire_r r = wire_r_span(value);
    size_t k = 0;

    while (wire_r_left(&r) > 0) {
        struct path_rate rate;

        rate.path = wire_r_varint(&r);
        rate.kbps = wire_r_varint(&r);
        if (r.failed)
            return MASQUE_H3_MESSAGE_ERROR;
        if (path_rates_find(out, k, rate.path))
            return MASQUE_H3_MESSAGE_ERROR;
        if (k == max)
            return MASQUE_H3_EXCESSIVE_LOAD;
        out[k++] = rate;
    }
    *n = k;
    return 0;
}

size_t ipcapsule_addresses_size(size_t n)
{
    return CAPSULE_HEAD_MAX + n * ASSIGN_MAX;
}

size_t ipcapsule_routes_size(size_t n)
{
    return CAPSULE_HEAD_MAX + n * RANGE_MAX;
}

size_t ipcapsule_rates_size(size_t n)
{
    return CAPSULE_HEAD_MAX + n * RATE_MAX;
}

void ipcapsule_write_addresses(struct wire_w *w, enum capsule_type type,
                               const struct ip_assign *a, size_t n)
{
    uint64_t length = 0;

    for (size_t i = 0; i < n; i++)
        length += varint_len(a[i].request_id) + 2 + ip_size(a[i].prefix.addr.version);
    capsule_write_head(w, type, length);
    for (size_t i = 0; i < n; i++) {
        wire_w_varint(w, a[i].request_id);
        wire_w_u8(w, a[i].prefix.addr.version);
        wire_w_bytes(w, a[i].prefix.addr.b, ip_size(a[i].prefix.addr.version));
        wire_w_u8(w, a[i].prefix.len);
    }
}

void ipcapsule_write_routes(struct wire_w *w, const struct ip_range *r, size_t n)
{
    uint64_t length = 0;

    for (size_t i = 0; i < n; i++)
        length += 2 + 2 * ip_size(r[i].start.version);
    capsule_write_head(w, CAPSULE_ROUTE_ADVERTISEMENT, length);
    for (size_t i = 0; i < n; i++) {
        wire_w_u8(w, r[i].start.version);
        wire_w_bytes(w, r[i].start.b, ip_size(r[i].start.version));
        wire_w_bytes(w, r[i].end.b, ip_size(r[i].end.version));
        wire_w_u8(w, r[i].proto);
    }
}

void ipcapsule_write_rates(struct wire_w *w, const struct path_rate *r, size_t n)
{
    uint64_t length = 0;

    for (size_t i = 0; i < n; i++)
        length += varint_len(r[i].path) + varint_len(r[i].kbps);
    capsule_write_head(w, CAPSULE_PATH_RATES, length);
    for (size_t i = 0; i < n; i++) {
        wire_w_varint(w, r[i].path);
        wire_w_varint(w, r[i].kbps);
    }
}
