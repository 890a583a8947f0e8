#!/bin/sh
# install.sh: the reporter and the helper onto this host; run as root, from this directory.
#
#   sh install.sh [--root DIR] URL < SECRET-FILE
#
# URL is the bot's address; the first line of standard input is the secret. What lies in the crash directory already is
# taken for known. Running it again brings newer scripts and leaves report.conf and the secret alone where they exist.
#
# --root DIR: into the file system of another machine that lies there (an image, a chroot). Nothing is run or started then:
# the timer is enabled by its link, and the first boot does the rest.
#
# It says what it put where, and what the distribution's kdump still lacks: Debian and Ubuntu, RHEL and its kin, SUSE.

set -eu
umask 077
usage() {
    echo 'usage, as root: sh install.sh [--root DIR] URL < SECRET-FILE' >&2
    exit 64
}

root=
if [ "${1:-}" = --root ]; then
    [ $# -eq 3 ] && [ -d "$2" ] || usage
    root=${2%/}
    shift 2
    [ -n "$root" ] || usage
fi
[ $# -eq 1 ] || usage
case $1 in
    http://?* | https://?*) ;;
    *) usage ;;
esac
[ -n "$root" ] || [ "$(id -u)" -eq 0 ] || usage
cd "$(dirname "$0")"

# Whoever builds an image need not be root; whoever is gives the files to root, whatever the umask of the source.
owned() { # MODE FILE… DIRECTORY
    mode=$1
    shift
    if [ "$(id -u)" -eq 0 ]; then
        install -o root -g root -m "$mode" "$@"
    else
        install -m "$mode" "$@"
    fi
}

put() { # MODE DIRECTORY FILE…
    mode=$1 place=$2
    shift 2
    owned "$mode" "$@" "$root$place/"
    for file in "$@"; do
        echo "installed: $place/$file"
    done
}

folder() { # PATH: as it is where it exists, root's and open to read where it does not
    [ -d "$root$1" ] || (umask 022 && mkdir -p "$root$1")
}

family() { # debian, rhel, suse, or other
    for release in "$root/etc/os-release" "$root/usr/lib/os-release"; do
        [ -r "$release" ] || continue
        words=$(sed -n 's/^ID=//p; s/^ID_LIKE=//p' "$release" | tr -d "\"'" | tr '\n' ' ')
        case " $words" in
            *' debian '* | *' ubuntu '*) echo debian ;;
            *' rhel '* | *' fedora '* | *' centos '*) echo rhel ;;
            *' suse '* | *' opensuse'* | *' sles '*) echo suse ;;
            *) echo other ;;
        esac
        return
    done
    echo other
}

kdump() { # FAMILY: the configuration file of its kdump, and what installs that
    case $1 in
        debian) echo '/etc/default/kdump-tools apt-get install kdump-tools' ;;
        rhel) echo '/etc/kdump.conf dnf install kdump-utils || dnf install kexec-tools' ;;
        suse) echo '/etc/sysconfig/kdump zypper install kdump' ;;
    esac
}

folder /etc/panicroom
chmod 0755 "$root/etc/panicroom"
if [ ! -e "$root/etc/panicroom/secret" ]; then
    head -n 1 >"$root/etc/panicroom/secret.new"
    [ -s "$root/etc/panicroom/secret.new" ] || {
        rm "$root/etc/panicroom/secret.new"
        echo 'install.sh: there is no secret on standard input' >&2
        exit 64
    }
    mv "$root/etc/panicroom/secret.new" "$root/etc/panicroom/secret"
    echo 'installed: /etc/panicroom/secret'
else
    echo 'kept: /etc/panicroom/secret'
fi
if [ ! -e "$root/etc/panicroom/report.conf" ]; then
    # No backslash of the address means anything to awk.
    URL=$1 awk '/^url = / { print "url = " ENVIRON["URL"]; next } { print }' report.conf \
        >"$root/etc/panicroom/report.conf.new"
    mv "$root/etc/panicroom/report.conf.new" "$root/etc/panicroom/report.conf"
    echo 'installed: /etc/panicroom/report.conf'
else
    echo 'kept: /etc/panicroom/report.conf'
fi
folder /usr/local/sbin
folder /etc/systemd/system
put 0755 /usr/local/sbin panicroom-host panicroom-report
put 0644 /etc/systemd/system panicroom-report.service panicroom-report.timer

family=$(family)
echo "family: $family"
if [ "$family" = other ]; then
    echo 'kdump: this distribution is not known here; dumps are looked for in /var/crash'
else
    known=$(kdump "$family")
    if [ -e "$root${known%% *}" ]; then
        echo "kdump: its crash directory is taken from ${known%% *}"
    else
        echo "kdump: ${known%% *} is missing; install it: ${known#* }"
    fi
fi

if [ -n "$root" ]; then
    folder /etc/systemd/system/timers.target.wants
    ln -sf ../panicroom-report.timer "$root/etc/systemd/system/timers.target.wants/panicroom-report.timer"
    echo 'enabled: panicroom-report.timer, from the next boot on'
    [ "$family" != rhel ] || echo 'next, on the host, where SELinux enforces: restorecon -v /usr/local/sbin/panicroom-*'
    echo 'next, on the host: panicroom-report --check'
    exit 0
fi

# Copied files keep the label of where they came from; systemd may not run them then.
if [ "$family" = rhel ] && command -v restorecon >/dev/null 2>&1; then
    restorecon /usr/local/sbin/panicroom-host /usr/local/sbin/panicroom-report \
        /etc/systemd/system/panicroom-report.service /etc/systemd/system/panicroom-report.timer
fi
[ -d /var/lib/panicroom/done ] || /usr/local/sbin/panicroom-report --mark-known
systemctl daemon-reload
systemctl enable --now panicroom-report.timer
/usr/local/sbin/panicroom-report --check
