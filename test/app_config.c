/* config: what is accepted, what is refused, and in which words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "app/config.h"
#include "app/exit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Parse a command line given as words separated by single spaces. */
static int parse(struct config *c, const char *line, char *err, size_t err_len)
{
    static char copy[1024];
    char *argv[64], *save = NULL;
    int argc = 0;

    snprintf(copy, sizeof(copy), "mqvpn%s%s", *line ? " " : "", line);
    for (char *w = strtok_r(copy, " ", &save); w && argc < 63; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    argv[argc] = NULL;
    err[0] = 0;
    return config_parse(c, argc, argv, err, err_len);
}

static void good_lines(void **state)
{
    static const struct {
        const char *line;
        enum config_mode mode;
    } rows[] = {
        {"", CONFIG_DEMO},
        {"demo --seconds 3", CONFIG_DEMO},
        {"client vpn.example", CONFIG_CLIENT},
        {"client [2001:db8::1]:8443 --insecure", CONFIG_CLIENT},
        {"client 2001:db8::1 --route 10.0.0.0/8 --route fd00::/8", CONFIG_CLIENT},
        {"--mode client --server 192.0.2.1:443 --auth-key k", CONFIG_CLIENT},
        {"server", CONFIG_SERVER},
        {"server --listen 0.0.0.0:8443 --user ann:secret --user bob:other", CONFIG_SERVER},
        {"server --listen :8443 --subnet 10.9.0.0/16 --subnet6 none --nat", CONFIG_SERVER},
        {"--mode server --subnet6 fd00:1::/64", CONFIG_SERVER},
        {"genkey", CONFIG_GENKEY},
        {"gencert --name vpn.example --name 192.0.2.1", CONFIG_GENCERT},
        {"wan links", CONFIG_WAN},
        {"status --json --watch --tun-name tun3", CONFIG_STATUS},
        {"--help", CONFIG_HELP},
        {"-V", CONFIG_VERSION},
    };
    struct config c;
    char err[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int rc = parse(&c, rows[i].line, err, sizeof(err));
        if (rc)
            print_error("%s: %s\n", rows[i].line, err);
        assert_int_equal(rc, 0);
        assert_int_equal(c.mode, rows[i].mode);
        config_free(&c);
    }
}

static void bad_lines(void **state)
{
    static const struct {
        const char *line, *says;
        int status;
    } rows[] = {
        {"--frobnicate", "--frobnicate is no option", EXIT_USAGE},
        {"dance", "\"dance\" is no command", EXIT_USAGE},
        {"client", "which server?", EXIT_USAGE},
        {"client a b", "one word too many", EXIT_USAGE},
        {"client host:0", "HOST:PORT", EXIT_USAGE},
        {"client host:99999", "HOST:PORT", EXIT_USAGE},
        {"client :443", "HOST:PORT", EXIT_USAGE},
        {"client [::1:443", "HOST:PORT", EXIT_USAGE},
        {"client h --server", "needs a value", EXIT_USAGE},
        {"client h --mtu 1279", "1280", EXIT_USAGE},
        {"client h --mtu 12x", "1280", EXIT_USAGE},
        {"client h --dns example.org", "no IP address", EXIT_USAGE},
        {"client h --route 10.0.0.1/8", "must be 0", EXIT_USAGE},
        {"client h --route 10.0.0.0/33", "prefix", EXIT_USAGE},
        {"client h --route 10.0.0.0", "prefix", EXIT_USAGE},
        {"client h --insecure --ca f", "contradicts", EXIT_USAGE},
        {"client h --auth-key a --auth-key-file b", "not both", EXIT_USAGE},
        {"client h --path waytoolongname0123", "interface name", EXIT_USAGE},
        {"client h --no-path a/b", "interface name", EXIT_USAGE},
        {"client h --link wwan0", "IFACE=TERMS", EXIT_USAGE},
        {"client h --link wwan0=always", "backup", EXIT_USAGE},
        {"client h --link wwan0=20", "mbit", EXIT_USAGE},
        {"client h --log-level loud", "none of", EXIT_USAGE},
        {"server --subnet 10.0.0.0/31", "/8 to /30", EXIT_USAGE},
        {"server --subnet 10.0.0.7/24", "/8 to /30", EXIT_USAGE},
        {"server --subnet6 fd00::/48", "/64 to /126", EXIT_USAGE},
        {"server --listen host.example:443", "no IP address", EXIT_USAGE},
        {"server --user ann", "NAME:KEY", EXIT_USAGE},
        {"server --user :key", "NAME:KEY", EXIT_USAGE},
        {"server --no-auth --user a:b", "contradicts", EXIT_USAGE},
        {"server --cert f", "go together", EXIT_USAGE},
        {"server --max-clients 0", "number", EXIT_USAGE},
        {"server --retry sometimes", "none of auto|always|never", EXIT_USAGE},
        {"client h --retry always", "--retry is for the server", EXIT_USAGE},
        {"client h --nat", "--nat is for the server", EXIT_USAGE},
        {"client h --user ann:secret", "--user is for the server", EXIT_USAGE},
        {"--pin x --mode server", "--pin is for a client", EXIT_USAGE},
        {"server --cc vegas", "vegas", EXIT_USAGE},
        {"client h --scheduler best", "none of auto|minrtt", EXIT_USAGE},
        {"server --config /nonexistent/mqvpn.conf", "No such file", EXIT_FILE},
    };
    struct config c;
    char err[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int rc = parse(&c, rows[i].line, err, sizeof(err));
        if (rc != rows[i].status || !strstr(err, rows[i].says))
            print_error("%s: %d \"%s\"\n", rows[i].line, rc, err);
        assert_int_equal(rc, rows[i].status);
        assert_non_null(strstr(err, rows[i].says));
        config_free(&c);
    }
}

static char file_name[] = "/tmp/mqvpn-config-XXXXXX";

static int from_file(struct config *c, const char *text, const char *more, char *err,
                     size_t err_len)
{
    char line[256];
    FILE *f = fopen(file_name, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    snprintf(line, sizeof(line), "%s--config %s", more, file_name);
    return parse(c, line, err, err_len);
}

static void files(void **state)
{
    struct config c;
    char err[512];

    (void)state;
    assert_int_equal(
        from_file(&c,
                  "[Server]\nAddress = vpn.example:8443\nInsecure = true\n"
                  "[Interface]\nTunName = t0\nDNS = 192.0.2.53, 2001:db8::53\n"
                  "Reconnect = true\nReconnectInterval = 5\nLogLevel = DEBUG\n"
                  "[Auth]\nKey = secret\n[Multipath]\nScheduler = wlb\nCC = bbr2\nPath = "
                  "eth0\n",
                  "", err, sizeof(err)),
        0);
    assert_int_equal(c.mode, CONFIG_CLIENT);
    assert_string_equal(c.server, "vpn.example:8443");
    assert_true(c.insecure);
    assert_string_equal(c.tun_name, "t0");
    assert_int_equal(c.dns.n, 2);
    assert_string_equal(c.dns.item[1], "2001:db8::53");
    assert_int_equal(c.log_level, LOG_DEBUG);
    assert_string_equal(c.auth_key, "secret");
    assert_string_equal(c.cc, "bbr");
    assert_string_equal(c.paths.item[0], "eth0");
    config_free(&c);

    /* The command line wins, lists as a whole, wherever --config stands. */
    assert_int_equal(from_file(&c,
                               "[Interface]\nListen = 0.0.0.0:443\n[Auth]\n"
                               "User = ann:1\nUser = bob:2\nMaxClients = 7\n",
                               "server --user eve:3 --max-clients 9 ", err, sizeof(err)),
                     0);
    assert_int_equal(c.users.n, 1);
    assert_string_equal(c.users.item[0], "eve:3");
    assert_int_equal(c.max_clients, 9);
    assert_string_equal(c.listen, "0.0.0.0:443");
    config_free(&c);

    /* A file without a server's address is a server's. */
    assert_int_equal(from_file(&c, "[Interface]\nSubnet = 10.7.0.0/24\n", "", err, sizeof(err)),
                     0);
    assert_int_equal(c.mode, CONFIG_SERVER);
    config_free(&c);
}

static void bad_files(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"[Server]\nAdress = x\n", "[Server] Adress is no option"},
        {"[Interface]\nMTU = 10\n", "[Interface] MTU"},
        {"[Interface]\nManageRoutes = maybe\n", "neither true nor false"},
        {"[Interface]\nKillSwitch = true\n", "no kill switch"},
        {"[Interface]\nwhat is this\n", "line 2"},
    };
    struct config c;
    char err[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(from_file(&c, rows[i].text, "", err, sizeof(err)), EXIT_USAGE);
        if (!strstr(err, rows[i].says))
            print_error("%s: \"%s\"\n", rows[i].text, err);
        assert_non_null(strstr(err, rows[i].says));
        config_free(&c);
    }
}

static void host_port(void **state)
{
    static const struct {
        const char *text, *host;
        int port; /* 0: refused */
    } rows[] = {
        {"h", "h", 443},       {"h:1", "h", 1},     {"[::1]:5", "::1", 5},
        {"[::1]", "::1", 443}, {"::1", "::1", 443}, {":7", "", 7},
        {"h:", "", 0},         {"h:65536", "", 0},  {"[::1]x", "", 0},
        {"h:-1", "", 0},       {"h: 5", "", 0},     {"192.0.2.1:80", "192.0.2.1", 80},
    };
    char host[64];
    uint16_t port;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int rc = config_host_port(rows[i].text, 443, host, sizeof(host), &port);
        if (rows[i].port == 0) {
            assert_int_equal(rc, QUIC_INVAL);
            continue;
        }
        assert_int_equal(rc, 0);
        assert_string_equal(host, rows[i].host);
        assert_int_equal(port, rows[i].port);
    }
    assert_int_equal(config_host_port("toolong", 1, host, 4, &port), QUIC_INVAL);
}

static void help_names_every_option(void **state)
{
    static const char *const some[] = {"--server HOST", "--pin",    "--no-auth", "--nat",
                                       "--log-level",   "--config", "--seconds", "Exit status"};
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);

    (void)state;
    config_help(f);
    fclose(f);
    for (size_t i = 0; i < ARRAY_LEN(some); i++)
        assert_non_null(strstr(text, some[i]));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_lines), cmocka_unit_test(bad_lines),
        cmocka_unit_test(files),      cmocka_unit_test(bad_files),
        cmocka_unit_test(host_port),  cmocka_unit_test(help_names_every_option),
    };
    int fd = mkstemp(file_name), rc;

    if (fd < 0)
        return 1;
    close(fd);
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(file_name);
    return rc;
}
