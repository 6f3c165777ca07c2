#include "app/base64.h"

static const char alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void base64url_encode(const uint8_t *in, size_t n, char *out)
{
    uint32_t acc = 0;
    unsigned bits = 0;

    for (size_t i = 0; i < n; i++) {
        acc = acc << 8 | in[i];
        for (bits += 8; bits >= 6; bits -= 6)
            *out++ = alphabet[acc >> (bits - 6) & 63];
    }
    if (bits > 0)
        *out++ = alphabet[acc << (6 - bits) & 63];
    *out = 0;
}

static int value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

int base64url_decode(struct span in, uint8_t *out, size_t *n)
{
    uint32_t acc = 0;
    unsigned bits = 0;
    size_t used = 0;

    for (size_t i = 0; i < in.n; i++) {
        int v = value(in.p[i]);
        if (v < 0)
            return QUIC_INVAL;
        acc = acc << 6 | (uint32_t)v;
        bits += 6;
        if (bits < 8)
            continue;
        if (used == *n)
            return QUIC_INVAL;
        bits -= 8;
        out[used++] = (uint8_t)(acc >> bits);
    }
    if (bits >= 6 || (acc & ((1u << bits) - 1)))
        return QUIC_INVAL;
    *n = used;
    return 0;
}
