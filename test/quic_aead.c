#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <openssl/err.h>

#include "quic/aead.h"
#include "test/quic_hex.h"

static void assert_hex(const void *p, const char *text)
{
    struct hex h = hex_of(text);

    assert_memory_equal(p, h.b, h.n);
}

static struct quic_cid rfc_dcid(void)
{
    struct hex h = hex_of("8394c8f03e515708");

    return cid_of(hex_span(&h));
}

/* RFC 9001 A.1: everything derived from the client's first connection ID. */
static void test_initial_keys(void **state)
{
    struct quic_cid dcid = rfc_dcid();
    struct aead client, server;
    struct hex salt = hex_of("38762cf7f55934b34d179ae6a4c80cadccbb7f0a");
    uint8_t initial[32], key[16];

    (void)state;
    assert_int_equal(hkdf_extract(hex_span(&salt), cid_span(&dcid), initial), 0);
    assert_hex(initial, "7db5df06e7a69e432496adedb00851923595221596ae2ae9fb8115c1e9ed0a44");

    assert_int_equal(aead_initial(&client, &server, &dcid, false), 0);
    assert_true(client.seal);
    assert_false(server.seal);
    assert_hex(client.secret,
               "c00cf151ca5be075ed0ebfb5c80323c42d6b7db67881289af4008f1f6c357aea");
    assert_hex(client.iv, "fa044b2f42a3fd3b46fb255c");
    assert_hex(client.hp_key, "9f50449e04a0e810283a1e9933adedd2");
    assert_hex(server.secret,
               "3c199828fd139efd216c155ad844cc81fb82fa8d7446fa7d78be803acdda951b");
    assert_hex(server.iv, "0ac1493ca1905853b0bba03e");
    assert_hex(server.hp_key, "c206b8d9b9f0f37644430b490eeaa314");
    hkdf_expand_label(AEAD_SHA256, span_of(client.secret, 32), "quic key", key, 16);
    assert_hex(key, "1f369613dd76d5467730efcbe3b1a22d");
    hkdf_expand_label(AEAD_SHA256, span_of(server.secret, 32), "quic key", key, 16);
    assert_hex(key, "cf3a5331653c364c88f0f379b6067e37");
    aead_free(&client);
    aead_free(&server);

    assert_int_equal(aead_initial(&client, &server, &dcid, true), 0);
    assert_false(client.seal);
    assert_true(server.seal);
    aead_free(&client);
    aead_free(&server);
    assert_false(aead_ready(&client));
    aead_free(&client); /* an empty one may be freed */
    aead_free(NULL);
}

/* Seal and mask, then unmask and open, one packet with its header written in clear. */
static void check_packet(struct aead *seal, struct aead *open, struct hex header, size_t pn_len,
                         uint64_t pn, struct hex payload, struct hex want)
{
    size_t pn_offset = header.n - pn_len, len;
    uint8_t b[1500];
    uint64_t truncated;

    memcpy(b, header.b, header.n);
    assert_int_equal(
        aead_seal(seal, 0, pn, hex_span(&header), payload.b, payload.n, b + header.n), 0);
    assert_int_equal(aead_protect_head(seal, b, pn_offset, pn_len), 0);
    assert_int_equal(header.n + payload.n + QUIC_TAG, want.n);
    assert_memory_equal(b, want.b, want.n);

    assert_int_equal(aead_unprotect_head(open, b, want.n, pn_offset, &len, &truncated), 0);
    assert_int_equal(len, pn_len);
    assert_int_equal(truncated, pn & ((1ull << (8 * len)) - 1));
    assert_memory_equal(b, header.b, header.n);
    assert_int_equal(
        aead_open(open, 0, pn, span_of(b, header.n), b + header.n, want.n - header.n), 0);
    assert_memory_equal(b + header.n, payload.b, payload.n);
    assert_int_equal(seal->used, 1);
    assert_int_equal(open->failed, 0);
}

/* RFC 9001 A.2. */
static void test_client_initial(void **state)
{
    struct quic_cid dcid = rfc_dcid();
    struct aead c_seal, c_open, s_seal, s_open;
    struct hex header = hex_of("c300000001088394c8f03e5157080000449e00000002");
    struct hex payload =
        hex_of("060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e868"
               "04fe3a47f06a2b69484c00000413011302010000c000000010000e00000b6578"
               "616d706c652e636f6dff01000100000a00080006001d00170018001000070005"
               "04616c706e000500050100000000003300260024001d00209370b2c9caa47fba"
               "baf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b000302030400"
               "0d0010000e0403050306030203080408050806002d00020101001c0002400100"
               "3900320408ffffffffffffffff05048000ffff07048000ffff08011001048000"
               "75300901100f088394c8f03e51570806048000ffff");
    struct hex want = hex_of("c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11"
                             "d242b123dc9bd8bab936b47d92ec356c0bab7df5976d27cd449f63300099f399"
                             "1c260ec4c60d17b31f8429157bb35a1282a643a8d2262cad67500cadb8e7378c"
                             "8eb7539ec4d4905fed1bee1fc8aafba17c750e2c7ace01e6005f80fcb7df6212"
                             "30c83711b39343fa028cea7f7fb5ff89eac2308249a02252155e2347b63d58c5"
                             "457afd84d05dfffdb20392844ae812154682e9cf012f9021a6f0be17ddd0c208"
                             "4dce25ff9b06cde535d0f920a2db1bf362c23e596d11a4f5a6cf3948838a3aec"
                             "4e15daf8500a6ef69ec4e3feb6b1d98e610ac8b7ec3faf6ad760b7bad1db4ba3"
                             "485e8a94dc250ae3fdb41ed15fb6a8e5eba0fc3dd60bc8e30c5c4287e53805db"
                             "059ae0648db2f64264ed5e39be2e20d82df566da8dd5998ccabdae053060ae6c"
                             "7b4378e846d29f37ed7b4ea9ec5d82e7961b7f25a9323851f681d582363aa5f8"
                             "9937f5a67258bf63ad6f1a0b1d96dbd4faddfcefc5266ba6611722395c906556"
                             "be52afe3f565636ad1b17d508b73d8743eeb524be22b3dcbc2c7468d54119c74"
                             "68449a13d8e3b95811a198f3491de3e7fe942b330407abf82a4ed7c1b311663a"
                             "c69890f4157015853d91e923037c227a33cdd5ec281ca3f79c44546b9d90ca00"
                             "f064c99e3dd97911d39fe9c5d0b23a229a234cb36186c4819e8b9c5927726632"
                             "291d6a418211cc2962e20fe47feb3edf330f2c603a9d48c0fcb5699dbfe58964"
                             "25c5bac4aee82e57a85aaf4e2513e4f05796b07ba2ee47d80506f8d2c25e50fd"
                             "14de71e6c418559302f939b0e1abd576f279c4b2e0feb85c1f28ff18f58891ff"
                             "ef132eef2fa09346aee33c28eb130ff28f5b766953334113211996d20011a198"
                             "e3fc433f9f2541010ae17c1bf202580f6047472fb36857fe843b19f5984009dd"
                             "c324044e847a4f4a0ab34f719595de37252d6235365e9b84392b061085349d73"
                             "203a4a13e96f5432ec0fd4a1ee65accdd5e3904df54c1da510b0ff20dcc0c77f"
                             "cb2c0e0eb605cb0504db87632cf3d8b4dae6e705769d1de354270123cb11450e"
                             "fc60ac47683d7b8d0f811365565fd98c4c8eb936bcab8d069fc33bd801b03ade"
                             "a2e1fbc5aa463d08ca19896d2bf59a071b851e6c239052172f296bfb5e724047"
                             "90a2181014f3b94a4e97d117b438130368cc39dbb2d198065ae3986547926cd2"
                             "162f40a29f0c3c8745c0f50fba3852e566d44575c29d39a03f0cda721984b6f4"
                             "40591f355e12d439ff150aab7613499dbd49adabc8676eef023b15b65bfc5ca0"
                             "6948109f23f350db82123535eb8a7433bdabcb909271a6ecbcb58b936a88cd4e"
                             "8f2e6ff5800175f113253d8fa9ca8885c2f552e657dc603f252e1a8e308f76f0"
                             "be79e2fb8f5d5fbbe2e30ecadd220723c8c0aea8078cdfcb3868263ff8f09400"
                             "54da48781893a7e49ad5aff4af300cd804a6b6279ab3ff3afb64491c85194aab"
                             "760d58a606654f9f4400e8b38591356fbf6425aca26dc85244259ff2b19c41b9"
                             "f96f3ca9ec1dde434da7d2d392b905ddf3d1f9af93d1af5950bd493f5aa731b4"
                             "056df31bd267b6b90a079831aaf579be0a39013137aac6d404f518cfd4684064"
                             "7e78bfe706ca4cf5e9c5453e9f7cfd2b8b4c8d169a44e55c88d4a9a7f9474241"
                             "e221af44860018ab0856972e194cd934");

    (void)state;
    payload.n = 1162; /* the rest is PADDING, zero already */
    assert_int_equal(aead_initial(&c_seal, &s_open, &dcid, false), 0);
    assert_int_equal(aead_initial(&c_open, &s_seal, &dcid, true), 0);
    check_packet(&c_seal, &c_open, header, 4, 2, payload, want);
    aead_free(&c_seal);
    aead_free(&c_open);
    aead_free(&s_seal);
    aead_free(&s_open);
}

/* RFC 9001 A.3. */
static void test_server_initial(void **state)
{
    struct quic_cid dcid = rfc_dcid();
    struct aead c_seal, c_open, s_seal, s_open;
    struct hex header = hex_of("c1000000010008f067a5502a4262b50040750001");
    struct hex payload =
        hex_of("02000000000600405a020000560303eefce7f7b37ba1d1632e96677825ddf739"
               "88cfc79825df566dc5430b9a045a1200130100002e00330024001d00209d3c94"
               "0d89690b84d08a60993c144eca684d1081287c834d5311bcf32bb9da1a002b00"
               "020304");
    struct hex want = hex_of("cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a"
                             "5816b6394100f37a1c69797554780bb38cc5a99f5ede4cf73c3ec2493a1839b3"
                             "dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84"
                             "022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc4"
                             "2158407dd074ee");

    (void)state;
    assert_int_equal(aead_initial(&c_seal, &s_open, &dcid, false), 0);
    assert_int_equal(aead_initial(&c_open, &s_seal, &dcid, true), 0);
    check_packet(&s_seal, &s_open, header, 2, 1, payload, want);
    aead_free(&c_seal);
    aead_free(&c_open);
    aead_free(&s_seal);
    aead_free(&s_open);
}

/* RFC 9001 A.5, with the masks of A.2 and A.3 beside it. */
static void test_chacha20_short(void **state)
{
    struct hex secret =
        hex_of("9ac312a7f877468ebe69422748ad00a15443f18203a07d6060f688f30f21632b");
    struct aead seal, open, next;
    uint8_t key[32], nonce[AEAD_IV], mask[1][AEAD_MASK], sample[1][AEAD_SAMPLE];

    (void)state;
    assert_int_equal(aead_init(&seal, AEAD_CHACHA20_POLY1305, hex_span(&secret), true), 0);
    assert_int_equal(aead_init(&open, AEAD_CHACHA20_POLY1305, hex_span(&secret), false), 0);
    hkdf_expand_label(AEAD_SHA256, hex_span(&secret), "quic key", key, 32);
    assert_hex(key, "c6d98ff3441c3fe1b2182094f69caa2ed4b716b65488960a7a984979fb23e1c8");
    assert_hex(seal.iv, "e0459b3474bdd0e44a41c144");
    assert_hex(seal.hp_key, "25a282b9e82f06f21f488917a4fc8f1b73573685608597d0efcb076b0ab7a7a4");
    aead_nonce(seal.iv, 0, 654360564, nonce);
    assert_hex(nonce, "e0459b3474bdd0e46d417eb0");
    unhex("5e5cd55c41f69080575d7999c25a5bfb", sample[0], AEAD_SAMPLE);
    assert_int_equal(aead_masks(&seal, (const uint8_t(*)[AEAD_SAMPLE])sample, 1, mask), 0);
    assert_hex(mask[0], "aefefe7d03");

    check_packet(&seal, &open, hex_of("4200bff4"), 3, 654360564, hex_of("01"),
                 hex_of("4cfe4189655e5cd55c41f69080575d7999c25a5bfb"));

    assert_int_equal(aead_next(&next, &seal), 0);
    assert_hex(next.secret, "1223504755036d556342ee9361d253421a826c9ecdf3c7148684b36b714881f9");
    assert_memory_equal(next.hp_key, seal.hp_key, 32);
    assert_memory_not_equal(next.iv, seal.iv, AEAD_IV);
    assert_int_equal(next.used, 0);
    aead_free(&next);
    aead_free(&seal);
    aead_free(&open);
}

static void test_masks_rfc(void **state)
{
    struct quic_cid dcid = rfc_dcid();
    struct aead client, server;
    uint8_t mask[1][AEAD_MASK], sample[1][AEAD_SAMPLE];

    (void)state;
    assert_int_equal(aead_initial(&client, &server, &dcid, false), 0);
    unhex("d1b1c98dd7689fb8ec11d242b123dc9b", sample[0], AEAD_SAMPLE);
    aead_masks(&client, (const uint8_t(*)[AEAD_SAMPLE])sample, 1, mask);
    assert_hex(mask[0], "437b9aec36");
    unhex("2cd0991cd25b0aac406a5816b6394100", sample[0], AEAD_SAMPLE);
    aead_masks(&server, (const uint8_t(*)[AEAD_SAMPLE])sample, 1, mask);
    assert_hex(mask[0], "2ec0d8356a");
    aead_free(&client);
    aead_free(&server);
}

/* draft-ietf-quic-multipath-21 (RFC 10069) 2.4. */
static void test_nonce_multipath(void **state)
{
    struct hex iv = hex_of("6b26114b9cba2b63a9e8dd4f");
    uint8_t nonce[AEAD_IV];

    (void)state;
    aead_nonce(iv.b, 3, 54321, nonce);
    assert_hex(nonce, "6b2611489cba2b63a9e8097e");
    aead_nonce(iv.b, 0, 0, nonce);
    assert_memory_equal(nonce, iv.b, AEAD_IV);
    aead_nonce(iv.b, UINT32_MAX, QUIC_PN_MAX, nonce);
    assert_hex(nonce, "94d9eeb4a345d49c561722b0");
}

static const enum aead_id all_ids[] = {AEAD_AES_128_GCM, AEAD_AES_256_GCM,
                                       AEAD_CHACHA20_POLY1305};

static void make_pair(struct aead *seal, struct aead *open, enum aead_id id, uint64_t *seed)
{
    uint8_t secret[AEAD_SECRET_MAX];
    struct span s = {secret, id == AEAD_AES_256_GCM ? 48 : 32};

    rand_bytes(seed, secret, sizeof(secret));
    assert_int_equal(aead_init(seal, id, s, true), 0);
    assert_int_equal(aead_init(open, id, s, false), 0);
}

/* Any size, both ways of calling; one flipped bit anywhere, another path or number: dropped. */
static void test_round_trip(void **state)
{
    uint64_t seed = 11;

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(all_ids); k++) {
        struct aead seal, open;
        uint64_t failed = 0;

        make_pair(&seal, &open, all_ids[k], &seed);
        for (int i = 0; i < 300; i++) {
            size_t n = rand_below(&seed, 1400), at;
            uint8_t aad[40], plain[1400], b[1400 + QUIC_TAG], in_place[1400 + QUIC_TAG];
            struct span a = {aad, 1 + rand_below(&seed, sizeof(aad))};
            uint64_t pn = rand_varint(&seed);
            uint32_t path = (uint32_t)rand_below(&seed, 4);

            rand_bytes(&seed, aad, sizeof(aad));
            rand_bytes(&seed, plain, n);
            memcpy(in_place, plain, n);
            assert_int_equal(aead_seal(&seal, path, pn, a, plain, n, b), 0);
            assert_int_equal(aead_seal(&seal, path, pn, a, in_place, n, in_place), 0);
            assert_memory_equal(b, in_place, n + QUIC_TAG);

            at = rand_below(&seed, n + QUIC_TAG);
            in_place[at] ^= (uint8_t)(1 << rand_below(&seed, 8));
            assert_int_equal(aead_open(&open, path, pn, a, in_place, n + QUIC_TAG), QUIC_DROP);
            assert_int_equal(memcmp(in_place + n, b + n, QUIC_TAG) != 0, at >= n);
            memcpy(in_place, b, n + QUIC_TAG);
            assert_int_equal(aead_open(&open, path + 1, pn, a, in_place, n + QUIC_TAG),
                             QUIC_DROP);
            memcpy(in_place, b, n + QUIC_TAG);
            assert_int_equal(aead_open(&open, path, pn + 1, a, in_place, n + QUIC_TAG),
                             QUIC_DROP);
            memcpy(in_place, b, n + QUIC_TAG);
            aad[0] ^= 1;
            assert_int_equal(aead_open(&open, path, pn, a, in_place, n + QUIC_TAG), QUIC_DROP);
            aad[0] ^= 1;
            failed += 4;
            assert_int_equal(open.failed, failed);

            assert_int_equal(aead_open(&open, path, pn, a, b, n + QUIC_TAG), 0);
            assert_memory_equal(b, plain, n);
        }
        assert_int_equal(seal.used, 600);
        assert_int_equal(ERR_peek_error(), 0);
        aead_free(&seal);
        aead_free(&open);
    }
}

static void test_refused(void **state)
{
    uint64_t seed = 5;
    struct aead seal, open, empty = {0};
    uint8_t b[64] = {0};
    struct span aad = {b, 4};

    (void)state;
    make_pair(&seal, &open, AEAD_AES_128_GCM, &seed);
    assert_int_equal(aead_seal(&open, 0, 0, aad, b, 1, b), QUIC_INVAL);
    assert_int_equal(aead_seal(&empty, 0, 0, aad, b, 1, b), QUIC_INVAL);
    assert_int_equal(aead_open(&seal, 0, 0, aad, b, 32), QUIC_DROP);
    assert_int_equal(aead_open(&empty, 0, 0, aad, b, 32), QUIC_DROP);
    for (size_t n = 0; n < QUIC_TAG; n++)
        assert_int_equal(aead_open(&open, 0, 0, aad, b, n), QUIC_DROP);
    assert_int_equal(open.failed, 0); /* those weren't attempts */
    assert_int_equal(aead_open(&open, 0, 0, aad, b, QUIC_TAG), QUIC_DROP);
    assert_int_equal(open.failed, 1);

    /* The key refuses the packet after its last. */
    seal.used = aead_seal_limit(AEAD_AES_128_GCM) - 1;
    assert_int_equal(aead_seal(&seal, 0, 1, aad, b, 1, b), 0);
    assert_int_equal(aead_seal(&seal, 0, 2, aad, b, 1, b), QUIC_CLOSED);
    aead_free(&seal);
    aead_free(&open);

    assert_int_equal(aead_init(&seal, AEAD_AES_128_GCM, span_of(b, 48), true), QUIC_INVAL);
    assert_false(aead_ready(&seal));
    assert_int_equal(aead_init(&seal, AEAD_AES_256_GCM, span_of(b, 32), true), QUIC_INVAL);
    assert_int_equal(hkdf_expand_label(AEAD_SHA256, span_of(b, 32), "quic key", b, 33),
                     QUIC_INVAL);
}

/* RFC 9001 6.6. */
static void test_limits(void **state)
{
    (void)state;
    assert_int_equal(aead_seal_limit(AEAD_AES_128_GCM), 1 << 23);
    assert_int_equal(aead_seal_limit(AEAD_AES_256_GCM), 1 << 23);
    assert_true(aead_seal_limit(AEAD_CHACHA20_POLY1305) >= QUIC_PN_MAX);
    assert_int_equal(aead_open_limit(AEAD_AES_128_GCM), 1ull << 52);
    assert_int_equal(aead_open_limit(AEAD_AES_256_GCM), 1ull << 52);
    assert_int_equal(aead_open_limit(AEAD_CHACHA20_POLY1305), 1ull << 36);
}

/* Many masks at once are the masks one by one. */
static void test_mask_batches(void **state)
{
    uint64_t seed = 17;
    static uint8_t samples[200][AEAD_SAMPLE], many[200][AEAD_MASK], one[1][AEAD_MASK];

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(all_ids); k++) {
        static const size_t sizes[] = {0, 1, 2, 63, 64, 65, 128, 200};
        struct aead seal, open;

        make_pair(&seal, &open, all_ids[k], &seed);
        rand_bytes(&seed, samples[0], sizeof(samples));
        for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
            memset(many, 0, sizeof(many));
            assert_int_equal(
                aead_masks(&seal, (const uint8_t(*)[AEAD_SAMPLE])samples, sizes[s], many), 0);
            for (size_t i = 0; i < sizes[s]; i++) {
                aead_masks(&open, (const uint8_t(*)[AEAD_SAMPLE])(samples + i), 1, one);
                assert_memory_equal(many[i], one[0], AEAD_MASK);
            }
        }
        aead_free(&seal);
        aead_free(&open);
    }
}

/* Every packet number length, both header forms; what is too short is refused. */
static void test_head_protection(void **state)
{
    uint64_t seed = 23;
    struct aead seal, open;

    (void)state;
    make_pair(&seal, &open, AEAD_AES_128_GCM, &seed);
    for (size_t len = 1; len <= 4; len++) {
        for (unsigned form = 0; form < 2; form++) {
            uint8_t b[40], want[40];
            size_t got;
            uint64_t truncated, v = 0;

            rand_bytes(&seed, b, sizeof(b));
            b[0] = (uint8_t)((form ? 0xc0 : 0x44) | (len - 1));
            memcpy(want, b, sizeof(b));
            for (size_t i = 0; i < len; i++)
                v = v << 8 | b[9 + i];
            assert_int_equal(aead_protect_head(&seal, b, 9, len), 0);
            assert_int_equal((b[0] ^ want[0]) & (form ? 0xf0 : 0xe0), 0);
            assert_memory_equal(b + 9 + len, want + 9 + len, sizeof(b) - 9 - len);
            assert_int_equal(aead_unprotect_head(&open, b, sizeof(b), 9, &got, &truncated), 0);
            assert_int_equal(got, len);
            assert_int_equal(truncated, v);
            assert_memory_equal(b, want, sizeof(b));
        }
    }
    for (size_t n = 0; n < 29; n++) {
        uint8_t *p = exact_copy("0123456789012345678901234567890", n);
        size_t got;
        uint64_t truncated;

        assert_int_equal(aead_unprotect_head(&open, p, n, 9, &got, &truncated), QUIC_DROP);
        free(p);
    }
    aead_free(&seal);
    aead_free(&open);
}

/* Key update: both ends stay together over generations, old keys open nothing new. */
static void test_key_update(void **state)
{
    uint64_t seed = 29;

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(all_ids); k++) {
        struct aead seal, open;

        make_pair(&seal, &open, all_ids[k], &seed);
        for (uint64_t gen = 0; gen < 4; gen++) {
            struct aead seal_next, open_next;
            uint8_t b[32] = "key update", c[32];

            assert_int_equal(aead_next(&seal_next, &seal), 0);
            assert_int_equal(aead_next(&open_next, &open), 0);
            assert_memory_equal(seal_next.hp_key, seal.hp_key, AEAD_KEY_MAX);
            aead_seal(&seal_next, 0, gen, SPAN_LIT("h"), b, 16, b);
            memcpy(c, b, sizeof(c));
            assert_int_equal(aead_open(&open, 0, gen, SPAN_LIT("h"), c, 32), QUIC_DROP);
            assert_int_equal(aead_open(&open_next, 0, gen, SPAN_LIT("h"), b, 32), 0);
            assert_string_equal((char *)b, "key update");
            aead_free(&seal);
            aead_free(&open);
            seal = seal_next;
            open = open_next;
        }
        aead_free(&seal);
        aead_free(&open);
    }
}

static void test_reset_token(void **state)
{
    struct quic_cid a = rfc_dcid(), b = a;
    uint8_t key[32] = {1}, x[16], y[16];

    (void)state;
    assert_int_equal(stateless_reset_token(key, &a, x), 0);
    assert_int_equal(stateless_reset_token(key, &b, y), 0);
    assert_true(bytes_equal_ct(x, y, 16));
    b.b[7] ^= 1;
    assert_int_equal(stateless_reset_token(key, &b, y), 0);
    assert_false(bytes_equal_ct(x, y, 16));
    key[31] ^= 1;
    assert_int_equal(stateless_reset_token(key, &a, y), 0);
    assert_false(bytes_equal_ct(x, y, 16));
    /* HMAC-SHA-256 of "Hi There" under 20 bytes of 0x0b, zero-padded (RFC 4231 4.2). */
    memset(key, 0, sizeof(key));
    memset(key, 0x0b, 20);
    a = cid_of(SPAN_LIT("Hi There"));
    assert_int_equal(stateless_reset_token(key, &a, x), 0);
    assert_hex(x, "b0344c61d8db38535ca8afceaf0bf12b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_initial_keys),    cmocka_unit_test(test_client_initial),
        cmocka_unit_test(test_server_initial),  cmocka_unit_test(test_chacha20_short),
        cmocka_unit_test(test_masks_rfc),       cmocka_unit_test(test_nonce_multipath),
        cmocka_unit_test(test_round_trip),      cmocka_unit_test(test_refused),
        cmocka_unit_test(test_limits),          cmocka_unit_test(test_mask_batches),
        cmocka_unit_test(test_head_protection), cmocka_unit_test(test_key_update),
        cmocka_unit_test(test_reset_token),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
