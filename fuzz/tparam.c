/*
 * Transport parameters: decoded as a client's and as a server's; what is accepted is encoded
 * and must come out the same.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "quic/errors.h"
#include "quic/tparam.h"

#define CHECK(x)                                                                               \
    do {                                                                                       \
        if (!(x))                                                                              \
            abort();                                                                           \
    } while (0)

static void round_trip(const struct tparams *t, bool server)
{
    uint8_t a[1024], b[1024];
    struct wire_w wa = wire_w_of(a, sizeof(a)), wb = wire_w_of(b, sizeof(b));
    struct tparams u;
    size_t n;

    CHECK(tparams_encode(&wa, t, server, SPAN_LIT("")) == 0);
    n = (size_t)(wa.p - a);
    CHECK(tparams_decode(span_of(a, n), server, &u) == 0);
    CHECK(tparams_encode(&wb, &u, server, SPAN_LIT("")) == 0);
    CHECK((size_t)(wb.p - b) == n && memcmp(a, b, n) == 0);
    CHECK(tparams_check_cids(&u, server, u.has_initial_scid ? &u.initial_scid : NULL,
                             u.has_original_dcid ? &u.original_dcid : NULL,
                             u.has_retry_scid ? &u.retry_scid : NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint64_t ids[] = {0x00, 0x04, 0x0d, 0x1b, 0x20, 0x3e, 0x2ab2, VARINT_MAX};
    struct span blob = {data, size}, v;
    int ok[2];

    for (int server = 0; server < 2; server++) {
        struct tparams t;

        ok[server] = tparams_decode(blob, server, &t);
        CHECK(ok[server] == 0 || ok[server] == QUIC_TRANSPORT_PARAMETER_ERROR);
        if (ok[server] == 0)
            round_trip(&t, server);
    }
    CHECK(ok[0] != 0 || ok[1] == 0); /* a client may send nothing that a server may not */
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        if (tparam_find(blob, ids[i], &v) == 0)
            CHECK(v.n == 0 || (v.p >= data && v.p + v.n <= data + size));
    }
    return 0;
}
