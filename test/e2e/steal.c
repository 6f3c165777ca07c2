/*
 * steal - ask a server for a tunnel with any key and any lease token, and tell what it gave.
 *
 *   steal ADDRESS PORT KEY [TOKEN]
 *
 * Prints "status N", "lease TOKEN" and "address A" for each address, and leaves at once.
 * Exit status: 0 with at least one address, 1 refused, 2 no usable answer.
 */
#include "test/e2e/h3c.h"

#include "app/lease.h"
#include "masque/connect_ip.h"
#include "masque/request.h"

#define PATIENCE (15 * NS_PER_S)

static int ask(struct h3c *c, const char *authority, const char *key, const char *token,
               uint64_t *id)
{
    struct h3_field extra[1];
    struct masque_ask ask = {.authority = span_of(authority, strlen(authority)),
                             .bearer = span_of(key, strlen(key)),
                             .extra = extra};
    struct masque_head head;

    if (token)
        extra[ask.nextra++] = h3_field_str(LEASE_FIELD, token);
    return masque_request_build(&ask, &head) ? -1
                                             : h3_request(c->h3, head.field, head.n, false, id);
}

static int addresses(struct cip *cip)
{
    char text[IP_ADDR_TEXT];
    struct ip_addr a;
    int n = 0;

    for (uint8_t version = 4; version <= 6; version += 2) {
        if (!cip_address(cip, version, &a))
            continue;
        printf("address %s\n", ip_addr_format(&a, text, sizeof(text)));
        n++;
    }
    return n;
}

/* One event; the exit status once it is known, else -1. */
static int on_event(struct h3c *c, const struct h3_event *ev, struct cip *cip, char **argv,
                    const char *token)
{
    struct span in = ev->data, dgram, lease;
    uint64_t id;

    switch (ev->type) {
    case H3_EV_SETTINGS:
        return ask(c, argv[1], argv[3], token, &id) ? 2 : -1;
    case H3_EV_HEADERS:
        printf("status %u\n", ev->status);
        lease = h3_fields_value(ev->fields, ev->count, LEASE_FIELD);
        if (lease.n > 0)
            printf("lease %.*s\n", (int)lease.n, (const char *)lease.p);
        return ev->status == 200 ? -1 : 1;
    case H3_EV_DATA:
        while (in.n > 0)
            if (cip_recv(cip, &in, &dgram))
                return 2;
        return addresses(cip) > 0 ? 0 : -1;
    case H3_EV_FIN:
    case H3_EV_RESET:
    case H3_EV_ABORT:
        return 2;
    default:
        return -1;
    }
}

int main(int argc, char **argv)
{
    struct cip_config cfg = {0};
    ns_t until = h3c_now() + PATIENCE;
    struct h3_event ev;
    struct cip cip;
    struct h3c c = {0};
    int rc = -1;

    if (argc < 4 || argc > 5) {
        fprintf(stderr, "usage: steal ADDRESS PORT KEY [TOKEN]\n");
        return 2;
    }
    if (h3c_open(&c, argv[1], (uint16_t)atoi(argv[2]), NULL) || cip_init(&cip, &cfg))
        return 2;
    while (rc < 0) {
        int got = h3c_next(&c, &ev, until);
        if (got <= 0) {
            fprintf(stderr, "%s\n", got ? c.closed : "no answer");
            rc = 2;
            break;
        }
        rc = on_event(&c, &ev, &cip, argv, argc > 4 ? argv[4] : NULL);
    }
    cip_free(&cip);
    h3c_close(&c);
    return rc;
}
