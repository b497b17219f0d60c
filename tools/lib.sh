# shellcheck shell=sh
# What the tools share: messages, the system's packages, and the Python environment at .venv.

CHECKOUT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
CACHE=$CHECKOUT/.cache
VENV=$CHECKOUT/.venv
LOG=$CACHE/${0##*/}.log
STAMP=$VENV/salt-kvm-stamp

say() {
    printf '%s\n' "$*"
}

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Run a command whose output interests only when it fails, with a dot for each two seconds.
quietly() {
    mkdir -p "$CACHE"
    while sleep 2 >/dev/null 2>&1 && kill -0 "$$" 2>/dev/null; do printf .; done &
    ticker=$!
    "$@" >>"$LOG" 2>&1 </dev/null
    status=$?
    kill "$ticker" 2>/dev/null
    wait "$ticker" 2>/dev/null
    return "$status"
}

# Announce a command that works quietly.
step() {
    printf '%s ' "$1"
    shift
    "$@"
    status=$?
    say
    return "$status"
}

fail_with_log() {
    tail -n 5 "$LOG" >&2
    trouble='Temporary failure|Could not resolve|Could not connect|Network is unreachable'
    trouble="$trouble|NewConnectionError|ConnectTimeout|Max retries|Failed to download metadata"
    network=
    grep -Eq "$trouble" "$LOG" && network=": the network, or the settings of a proxy, seem wrong"
    die "$1$network; the whole output is in $LOG"
}

need_root() {
    [ "$(id -u)" -eq 0 ] || die "needs root $1: run it from a root shell, or with sudo"
}

manager() {
    for candidate in apt-get dnf yum zypper pacman; do
        if command -v "$candidate" >/dev/null 2>&1; then
            say "$candidate"
            return
        fi
    done
}

# Install packages of the distribution. Package lists are fetched only when it takes that.
install_packages() {
    case $(manager) in
        apt-get)
            export DEBIAN_FRONTEND=noninteractive
            quietly apt-get install -y --no-install-recommends "$@" && return
            quietly apt-get update &&
                quietly apt-get install -y --no-install-recommends "$@"
            ;;
        dnf) quietly dnf install -y "$@" ;;
        yum) quietly yum install -y "$@" ;;
        zypper) quietly zypper --non-interactive install --no-recommends "$@" ;;
        pacman)
            quietly pacman -S --needed --noconfirm "$@" ||
                quietly pacman -Sy --needed --noconfirm "$@"
            ;;
        *) die "knows none of apt-get, dnf, yum, zypper and pacman here: install $* yourself" ;;
    esac
}

# One line for each set of packages that may bring a Python that is new enough, best first.
python_packages() {
    case $(manager) in
        apt-get) say python3 python3-venv ;;
        dnf | yum)
            # Enterprise Linux 8 and 9 have a newer Python beside the system's own.
            grep -q '^ID="*fedora' /etc/os-release || printf '%s\n' python3.12 python3.11
            say python3
            ;;
        zypper) printf '%s\n' python313 python312 python311 python3 ;;
        pacman) say python ;;
    esac
}

# Print a Python that is new enough and can make environments.
find_python() {
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' \
                >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

get_python() {
    PYTHON=$(find_python) && return
    need_root "to install Python"
    python_packages >"$CACHE/python-packages"
    while read -r packages; do
        # shellcheck disable=SC2086 # a set is several words
        step "Installing $packages" install_packages $packages || continue
        PYTHON=$(find_python) && return
    done <"$CACHE/python-packages"
    fail_with_log "needs Python 3.10 or newer with venv, and this system's packages gave none"
}

can_compile() {
    command -v gcc >/dev/null 2>&1 && "$PYTHON" -c 'if True:
        import os.path, sys, sysconfig
        sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'
}

# Of what Salt depends on, timelib exists as source only.
get_compiler() {
    can_compile && return
    need_root "to install a C compiler and Python's headers"
    binary=$("$PYTHON" -c 'import os, sys; print(os.path.realpath(sys.executable))')
    case $(manager) in
        apt-get)
            owner=$(dpkg -S "$binary" 2>/dev/null | sed 's/:.*//; s/-minimal$//')
            set -- gcc libc6-dev ${owner:+"$owner-dev"}
            ;;
        dnf | yum | zypper)
            owner=$(rpm -qf --qf '%{NAME}\n' "$binary" 2>/dev/null) || owner=
            set -- gcc ${owner:+"${owner%-base}-devel"}
            ;;
        *) set -- gcc ;;
    esac
    step "Installing $*" install_packages "$@" ||
        fail_with_log "could not install a C compiler and Python's headers"
}

# The environment holds what setup.py asks for, at this place, with at least these extras.
stamp() {
    printf '%s\n' "$CHECKOUT" | cat - "$CHECKOUT/setup.py" | cksum
}

environment_has() {
    [ -f "$STAMP" ] && [ -x "$VENV/bin/python" ] || return 1
    {
        read -r made
        read -r HAS
    } <"$STAMP"
    for extra in $(printf '%s' "$1" | tr , ' '); do
        case ,$HAS, in
            *,"$extra",*) ;;
            *) return 1 ;;
        esac
    done
    [ "$made" = "$(stamp)" ]
}

# Make the environment hold this package with the given extras, and whatever it held before.
environment() {
    HAS=
    environment_has "$1" && return
    mkdir -p "$CACHE"
    : >"$LOG"
    get_python
    get_compiler
    extras=$(say "$1,$HAS" | tr , '\n' | grep . | sort -u | paste -s -d , -)
    rm -f "$STAMP"
    if ! "$VENV/bin/python" -c '' 2>/dev/null; then
        step "Making $VENV" quietly "$PYTHON" -m venv --clear "$VENV" ||
            fail_with_log "could not make a Python environment at $VENV"
    fi
    step "Installing salt-kvm [$extras] into $VENV" quietly "$VENV/bin/python" -m pip install \
        --disable-pip-version-check -e "${CHECKOUT}[$extras]" || fail_with_log "could not install it"
    printf '%s\n' "$(stamp)" "$extras" >"$STAMP"
}
