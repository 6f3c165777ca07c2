/*
 * dns - the name servers of the tunnel, applied and restored (`--dns`).
 *
 * Two ways. Where systemd-resolved runs and resolv.conf points at it, the servers are set
 * for the TUN link by `resolvectl` (dns, domain ~., default-route): resolved forgets them
 * with the link. Elsewhere, or where resolvectl fails, resolv.conf is replaced:
 *
 *   the original is kept beside it as `<path>.before-mqvpn` (a hard link: same inode, or
 *   the same symbolic link), and a new file takes its name by rename. Restoring is a rename
 *   back: bytes, mode, owner, times and links are what they were. Where the file can't be
 *   renamed (a bind mount, as in containers), it is rewritten in place and the original
 *   bytes are kept in the journal. Search domains and options of the original are carried
 *   over.
 *
 * The new file says who made it. Restoring happens only if the file still has exactly our
 * bytes: when somebody else has written it meanwhile, theirs stays. One running instance
 * at a time may hold a resolv.conf.
 *
 * A SIGKILL or a power cut leaves the journal record, or at least the file with its owner
 * line beside the original; dns_recover and dns_undo_kind take either back. Only what was
 * rewritten in place needs the journal.
 */
#ifndef APP_DNS_H
#define APP_DNS_H

#include "app/undo.h"
#include "quic/log.h"
#include "quic/types.h"
#include "tun/addr.h"

#define DNS_SERVERS_MAX 8
#define DNS_PATH        "/etc/resolv.conf"

struct dns;

struct dns_cfg {
    const struct tun_addr *servers; /* in order of preference */
    size_t n_servers;               /* 1..DNS_SERVERS_MAX; resolv.conf readers use three */
    const char *tun_name;
    const char *path;         /* resolv.conf; NULL: DNS_PATH */
    const char *resolvectl;   /* program; NULL: found in the usual places; "": never */
    const char *resolved_dir; /* NULL: /run/systemd/resolve */
};

/*
 * Apply. `u` is the process's journal, borrowed until dns_stop.
 *
 * Returns 0, or -errno with a sentence, everything as before: -EINVAL (no server, too
 * many, a path with blanks, a file that is no text), -EBUSY (another running instance holds
 * the file), -EPERM, -EACCES, -EROFS (can't be written: why), -EFBIG (resolv.conf of more
 * than 64 KB is none).
 */
int dns_start(struct dns **out, const struct dns_cfg *cfg, struct undo *u,
              const struct log *log, char *why, size_t why_size);

/* Restore and free. NULL is fine. What can't be restored is a line to the log. */
void dns_stop(struct dns *dns);

/* Whether resolved serves (true) or the file was replaced (false). */
bool dns_by_resolved(const struct dns *dns);

/*
 * Restore `path` (NULL: DNS_PATH) where it is a file made by a dead instance whose journal
 * is lost, as after a reboot. Returns 1 if it was restored, 0 if there was nothing to do,
 * or -errno with a sentence.
 */
int dns_recover(const char *path, char *why, size_t why_size);

/* For undo_recover. */
extern const struct undo_kind dns_undo_kind;

#endif
