/*
 * exit - the program's exit statuses.
 *
 * Each kind of failure that a script may want to tell apart has its own; the
 * message that goes with it says what is wrong and what to do. `mqvpn --help`
 * prints this table.
 */
#ifndef APP_EXIT_H
#define APP_EXIT_H

enum exit_status {
    EXIT_OK = 0,
    EXIT_INTERNAL = 1,   /* anything without a status of its own */
    EXIT_PRIVILEGE = 2,  /* not root, or a capability, namespace or /dev/net/tun is missing */
    EXIT_USAGE = 64,     /* unknown option, bad value, contradiction (sysexits EX_USAGE) */
    EXIT_FILE = 66,      /* a file can't be read or is not what it should be (EX_NOINPUT) */
    EXIT_RESOLVE = 68,   /* the server's name does not resolve (EX_NOHOST) */
    EXIT_NO_ANSWER = 69, /* the server does not answer (EX_UNAVAILABLE) */
    EXIT_TUN = 71,       /* the TUN device, an address or a route can't be set up (EX_OSERR) */
    EXIT_BIND = 73,      /* the UDP port or the interface can't be had (EX_CANTCREAT) */
    EXIT_FULL = 75,      /* the server has no address left: try later (EX_TEMPFAIL) */
    EXIT_PROTOCOL = 76,  /* the peer is not a CONNECT-IP server, or broke the protocol */
    EXIT_AUTH = 77,      /* wrong key (EX_NOPERM) */
    EXIT_CERT = 78       /* the server's certificate was not accepted */
};

#endif
