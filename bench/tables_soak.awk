# tables_soak.awk - lines of bench/soak.sh as a part of a page; for bench/report.sh, as tables_e2e.awk.

{
    delete f
    for (i = 2; i <= NF; i++) {
        at = index($i, "=")
        if (at) f[substr($i, 1, at - 1)] = substr($i, at + 1)
    }
}
$1 == "host" && ("minutes" in f) {
    minutes = f["minutes"]
    date = f["date"]
    n = 0
    verdict = ""
}
$1 == "soak" {
    line[++n] = f["seconds"] / 60 " " f["mbps_up"] " " f["mbps_down"] " " f["rss_cli"] " " f["rss_srv"]
    row[n] = "| " f["seconds"] / 60 " | " f["mbps_up"] " | " f["mbps_down"] " | " f["rss_cli"] ", " f["rss_srv"] \
        " | " f["fds_cli"] ", " f["fds_srv"] " |"
    if (n == 1 || f["mbps_up"] + f["mbps_down"] < slowest) {
        slowest = f["mbps_up"] + f["mbps_down"]
        slow = n
    }
}
$1 == "verdict" {
    verdict = $0
    sub(/^verdict /, "", verdict)
}

END {
    if (!n) exit
    print "#### Soak\n"
    printf "%s minutes, both directions at once, %s", minutes, date
    print (verdict ? ": `" verdict "`." : ", not run to its end.") "\n"
    print "| minute | up, Mbit/s | down, Mbit/s | MB: client, server | open descriptors |\n|---|---|---|---|---|"
    print row[1] # and the slowest, and the last
    if (slow > 1 && slow < n) print row[slow]
    if (n > 1) print row[n]
    print ""
    file = data "/soak"
    print "\"\" \"up, Mbit/s\" \"down, Mbit/s\" \"client, MB\" \"server, MB\"" > file
    for (i = 1; i <= n; i++) print line[i] > file
    if (plots) print "![Soak](" plots "/soak.png)\n"
}
