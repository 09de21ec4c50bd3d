#!/bin/sh
# Installs posthaste out of this archive, upgrades it, or removes it.
#
#   ./install.sh [--prefix DIR] [--destdir DIR] [--uninstall]
#
#   --prefix DIR    where the program goes; /usr/local, if not given
#   --destdir DIR   lays the files out below DIR, an image's root, and starts nothing; also taken from DESTDIR
#   --uninstall     removes what was installed with the same prefix; configuration, store and spool directory stay
#
# An upgrade is the same command again, with the same prefix: it keeps the configuration and what the administrator has enabled or
# disabled, leaves the socket open, and restarts the daemon if it runs. One that broke off is run again likewise.
# Needs root (not with --destdir) and systemd 252 or newer.
set -eu
export LC_ALL=C

usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; }
fail() {
    echo "install.sh: $2" >&2
    exit "$1"
}
say() { echo "install.sh: $*"; }

prefix=/usr/local destdir=${DESTDIR:-} uninstall=""
while [ $# -gt 0 ]; do
    case $1 in
        --prefix | --destdir) [ $# -ge 2 ] || fail 64 "$1 wants a directory" ;;
    esac
    case $1 in
        --prefix) prefix=${2%/}; shift 2 ;;
        --destdir) destdir=${2%/}; shift 2 ;;
        --uninstall) uninstall=yes; shift ;;
        --help) usage; exit 0 ;;
        *) fail 64 "unknown option $1; --help has those there are" ;;
    esac
done
case $prefix/ in
    [!/]* | /) fail 64 "--prefix wants a path from the root on" ;;
    # Others would mean something in the unit.
    *[!A-Za-z0-9/._+-]*) fail 64 "--prefix wants a path of letters, digits and . _ + - alone" ;;
    */./* | */../* | *//*) fail 64 "--prefix wants a path without . and .. in it" ;;
    /home/* | /root/* | /run/user/* | /tmp/* | /var/tmp/*) fail 64 "the unit shows the daemon nothing that lies in $prefix: another prefix" ;;
esac
tree=$(cd "$(dirname "$0")" && pwd)/tree
[ -x "$tree/usr/bin/posthaste" ] || fail 66 "run it where it was unpacked: there is no $tree/usr/bin/posthaste"

# Where systemd looks for units and the like; below other prefixes it would not find them.
case $prefix in /usr | /usr/local) system=$prefix/lib ;; *) system=/usr/local/lib ;; esac

running="" packaged=""
if [ -z "$destdir" ]; then
    [ "$(id -u)" = 0 ] || fail 77 "only root can do that; or lay it out elsewhere with --destdir"
    found=$(systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
    [ "${found:-0}" -ge 252 ] || fail 69 "systemd 252 or newer is needed; this is ${found:-none}"
    [ ! -d /run/systemd/system ] || running=yes
    case $(dpkg-query -W -f '${db:Status-Status}' posthaste 2>/dev/null || true) in
        "" | not-installed | config-files) ;;
        *) packaged=yes ;;
    esac
fi

# The prefix of what is installed, as its unit says; nothing where there is none but the Debian package's.
installed_prefix() {
    for directory in /usr/local/lib /usr/lib; do
        [ "$directory" = /usr/local/lib ] || [ -z "$packaged" ] || continue
        unit=$destdir$directory/systemd/system/posthaste.service
        [ ! -e "$unit" ] || { sed -n 's#^ExecStart=\(/.*\)/bin/posthaste serve$#\1#p' "$unit" && return; }
    done
}
installed=$(installed_prefix)

if [ -n "$packaged" ] && { [ -z "$uninstall" ] || [ "$prefix" = /usr ]; }; then
    fail 73 "the Debian package is installed: remove it first (apt remove posthaste keeps configuration and store)"
elif [ -n "$installed" ] && [ "$installed" != "$prefix" ]; then
    fail 73 "posthaste is installed with --prefix $installed: give that one, or remove it first (--uninstall --prefix $installed)"
fi

# Where a file of the tree goes.
place() {
    case $1 in
        usr/lib/*) echo "$system/${1#usr/lib/}" ;;
        usr/share/zsh/vendor-completions/*) echo "$prefix/share/zsh/site-functions/${1##*/}" ;;
        usr/*) echo "$prefix/${1#usr/}" ;;
        *) echo "/$1" ;;
    esac
}

files=$(cd "$tree" && find usr -type f | sort)

if [ -n "$uninstall" ]; then
    if [ -n "$running" ] && [ -z "$packaged" ]; then
        say "stopping and disabling posthaste"
        systemctl disable --quiet --now posthaste.socket posthaste.service || true
    fi
    for file in $files; do
        to=$destdir$(place "$file")
        [ ! -e "$to" ] || { say "removing $to" && rm -f "$to"; }
    done
    documents=$destdir$prefix/share/doc/posthaste
    [ ! -d "$documents" ] || find "$documents" -depth -type d -exec rmdir {} + 2>/dev/null || true
    [ -z "$running" ] || systemctl daemon-reload
    [ -n "$destdir" ] || ! command -v journalctl >/dev/null || journalctl --update-catalog
    if [ -n "$packaged" ]; then
        say "the Debian package stays; have its daemon and its socket take over: systemctl restart posthaste.socket posthaste.service"
    else
        say "/etc/posthaste, /var/lib/posthaste, /var/spool/posthaste and the users stay; remove them yourself if they are not needed any more"
    fi
    exit 0
fi

# Lays a file out.
install_file() {
    to=$destdir$(place "$1")
    say "installing $to"
    mkdir -p "${to%/*}"
    # Made beside the old one and renamed: a binary that runs cannot be written to.
    rm -f "$to.new"
    case $1 in
        */posthaste.service) sed "s#/usr/bin/posthaste#$prefix/bin/posthaste#" "$tree/$1" >"$to.new" ;;
        *) cp "$tree/$1" "$to.new" ;;
    esac
    case $1 in usr/bin/*) chmod 755 "$to.new" ;; *) chmod 644 "$to.new" ;; esac
    mv -f "$to.new" "$to"
}

# The binary comes last, when all before has been done: with the unit it tells an upgrade from a first installation that broke off.
program=usr/bin/posthaste upgrade=""
[ -z "$installed" ] || [ ! -e "$destdir$installed/bin/posthaste" ] || upgrade=yes
for file in $files; do
    [ "$file" = "$program" ] || install_file "$file"
done

etc=$destdir/etc/posthaste
for directory in "$etc" "$etc/conf.d"; do
    [ -d "$directory" ] || { mkdir -p "$directory" && chmod 750 "$directory"; }
done
mkdir -p "$etc/credentials"
chmod 700 "$etc/credentials"
for file in posthaste.toml conf.d/README; do
    if [ -e "$etc/$file" ]; then
        say "keeping $etc/$file"
    else
        say "installing $etc/$file"
        (umask 027 && cp "$tree/etc/posthaste/$file" "$etc/$file")
        chmod 640 "$etc/$file"
    fi
done

if [ -n "$destdir" ]; then
    install_file "$program"
    say "laid out below $destdir; users and directories are made by systemd-sysusers and systemd-tmpfiles when that system starts"
    say "there, enable it: systemctl enable posthaste.socket posthaste.service"
    exit 0
fi

say "making users and directories"
systemd-sysusers posthaste.conf
systemd-tmpfiles --create posthaste.conf
! command -v journalctl >/dev/null || journalctl --update-catalog
[ -z "$running" ] || systemctl daemon-reload
if [ -z "$upgrade" ]; then
    say "enabling posthaste"
    systemctl enable --quiet posthaste.socket posthaste.service
fi
install_file "$program"
if [ -z "$running" ]; then
    say "systemd does not run here: it starts with the system"
elif [ -z "$upgrade" ]; then
    say "starting posthaste"
    systemctl start posthaste.socket posthaste.service
else
    say "restarting posthaste, if it runs"
    systemctl try-restart posthaste.service
fi
say "done; see posthaste(8), and: posthaste status"
