#include "h3/qpack_static.h"

/* clang-format off */
#define ROW(n, v) {{(const uint8_t *)(n), sizeof(n) - 1}, {(const uint8_t *)(v), sizeof(v) - 1}}
static const struct qpack_static_row table[QPACK_STATIC_N] = {
    /*  0 */ ROW(":authority", ""),
    /*  1 */ ROW(":path", "/"),
    /*  2 */ ROW("age", "0"),
    /*  3 */ ROW("content-disposition", ""),
    /*  4 */ ROW("content-length", "0"),
    /*  5 */ ROW("cookie", ""),
    /*  6 */ ROW("date", ""),
    /*  7 */ ROW("etag", ""),
    /*  8 */ ROW("if-modified-since", ""),
    /*  9 */ ROW("if-none-match", ""),
    /* 10 */ ROW("last-modified", ""),
    /* 11 */ ROW("link", ""),
    /* 12 */ ROW("location", ""),
    /* 13 */ ROW("referer", ""),
    /* 14 */ ROW("set-cookie", ""),
    /* 15 */ ROW(":method", "CONNECT"),
    /* 16 */ ROW(":method", "DELETE"),
    /* 17 */ ROW(":method", "GET"),
    /* 18 */ ROW(":method", "HEAD"),
    /* 19 */ ROW(":method", "OPTIONS"),
    /* 20 */ ROW(":method", "POST"),
    /* 21 */ ROW(":method", "PUT"),
    /* 22 */ ROW(":scheme", "http"),
    /* 23 */ ROW(":scheme", "https"),
    /* 24 */ ROW(":status", "103"),
    /* 25 */ ROW(":status", "200"),
    /* 26 */ ROW(":status", "304"),
    /* 27 */ ROW(":status", "404"),
    /* 28 */ ROW(":status", "503"),
    /* 29 */ ROW("accept", "*/*"),
    /* 30 */ ROW("accept", "application/dns-message"),
    /* 31 */ ROW("accept-encoding", "gzip, deflate, br"),
    /* 32 */ ROW("accept-ranges", "bytes"),
    /* 33 */ ROW("access-control-allow-headers", "cache-control"),
    /* 34 */ ROW("access-control-allow-headers", "content-type"),
    /* 35 */ ROW("access-control-allow-origin", "*"),
    /* 36 */ ROW("cache-control", "max-age=0"),
    /* 37 */ ROW("cache-control", "max-age=2592000"),
    /* 38 */ ROW("cache-control", "max-age=604800"),
    /* 39 */ ROW("cache-control", "no-cache"),
    /* 40 */ ROW("cache-control", "no-store"),
    /* 41 */ ROW("cache-control", "public, max-age=31536000"),
    /* 42 */ ROW("content-encoding", "br"),
    /* 43 */ ROW("content-encoding", "gzip"),
    /* 44 */ ROW("content-type", "application/dns-message"),
    /* 45 */ ROW("content-type", "application/javascript"),
    /* 46 */ ROW("content-type", "application/json"),
    /* 47 */ ROW("content-type", "application/x-www-form-urlencoded"),
    /* 48 */ ROW("content-type", "image/gif"),
    /* 49 */ ROW("content-type", "image/jpeg"),
    /* 50 */ ROW("content-type", "image/png"),
    /* 51 */ ROW("content-type", "text/css"),
    /* 52 */ ROW("content-type", "text/html; charset=utf-8"),
    /* 53 */ ROW("content-type", "text/plain"),
    /* 54 */ ROW("content-type", "text/plain;charset=utf-8"),
    /* 55 */ ROW("range", "bytes=0-"),
    /* 56 */ ROW("strict-transport-security", "max-age=31536000"),
    /* 57 */ ROW("strict-transport-security", "max-age=31536000; includesubdomains"),
    /* 58 */ ROW("strict-transport-security", "max-age=31536000; includesubdomains; preload"),
    /* 59 */ ROW("vary", "accept-encoding"),
    /* 60 */ ROW("vary", "origin"),
    /* 61 */ ROW("x-content-type-options", "nosniff"),
    /* 62 */ ROW("x-xss-protection", "1; mode=block"),
    /* 63 */ ROW(":status", "100"),
    /* 64 */ ROW(":status", "204"),
    /* 65 */ ROW(":status", "206"),
    /* 66 */ ROW(":status", "302"),
    /* 67 */ ROW(":status", "400"),
    /* 68 */ ROW(":status", "403"),
    /* 69 */ ROW(":status", "421"),
    /* 70 */ ROW(":status", "425"),
    /* 71 */ ROW(":status", "500"),
    /* 72 */ ROW("accept-language", ""),
    /* 73 */ ROW("access-control-allow-credentials", "FALSE"),
    /* 74 */ ROW("access-control-allow-credentials", "TRUE"),
    /* 75 */ ROW("access-control-allow-headers", "*"),
    /* 76 */ ROW("access-control-allow-methods", "get"),
    /* 77 */ ROW("access-control-allow-methods", "get, post, options"),
    /* 78 */ ROW("access-control-allow-methods", "options"),
    /* 79 */ ROW("access-control-expose-headers", "content-length"),
    /* 80 */ ROW("access-control-request-headers", "content-type"),
    /* 81 */ ROW("access-control-request-method", "get"),
    /* 82 */ ROW("access-control-request-method", "post"),
    /* 83 */ ROW("alt-svc", "clear"),
    /* 84 */ ROW("authorization", ""),
    /* 85 */ ROW("content-security-policy",
                 "script-src 'none'; object-src 'none'; base-uri 'none'"),
    /* 86 */ ROW("early-data", "1"),
    /* 87 */ ROW("expect-ct", ""),
    /* 88 */ ROW("forwarded", ""),
    /* 89 */ ROW("if-range", ""),
    /* 90 */ ROW("origin", ""),
    /* 91 */ ROW("purpose", "prefetch"),
    /* 92 */ ROW("server", ""),
    /* 93 */ ROW("timing-allow-origin", "*"),
    /* 94 */ ROW("upgrade-insecure-requests", "1"),
    /* 95 */ ROW("user-agent", ""),
    /* 96 */ ROW("x-forwarded-for", ""),
    /* 97 */ ROW("x-frame-options", "deny"),
    /* 98 */ ROW("x-frame-options", "sameorigin"),
};
#undef ROW
/* clang-format on */

const struct qpack_static_row *qpack_static_get(uint64_t index)
{
    return index < QPACK_STATIC_N ? &table[index] : NULL;
}

int qpack_static_find(struct span name, struct span value, bool *exact)
{
    int by_name = -1;

    *exact = false;
    for (int i = 0; i < QPACK_STATIC_N; i++) {
        if (!h3_span_eq(table[i].name, name))
            continue;
        if (h3_span_eq(table[i].value, value)) {
            *exact = true;
            return i;
        }
        if (by_name < 0)
            by_name = i;
    }
    return by_name;
}
