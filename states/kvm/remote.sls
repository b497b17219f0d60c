{%- from "kvm/map.jinja" import kvm with context %}
{%- set host = kvm.host %}
{#- Here too what is malformed is left out. -#}
{%- set tls = host.tls %}
{%- set sasl = host.sasl if host.sasl.get("mechanisms") is iterable else {} %}
{%- set polkit = host.polkit if host.polkit.get("users") is iterable else {} %}
{%- set x509 = tls.x509 if tls.x509 is mapping else none %}
{%- set remote = host.remote[host.daemons] %}
{%- set serves = tls.cert is string or x509 is not none %}
{%- set systemd = grains.init == "systemd" %}
{%- set listens = serves and remote.socket and systemd %}
{%- set read_anew = {"onchanges_in": [{"cmd": "kvm-remote-read-anew"}]} if systemd else {"watch_in": [{"kvm_host": "kvm-remote-read-anew"}]} %}
{%- set paths = {} %}
{%- for file in host.tls_files %}
{%- do paths.update({file.key: file.path}) %}
{%- endfor %}

include:
  - kvm.valid
  - kvm.host
{%- if tls %}
{%- for file in host.tls_files if tls[file.key] is string %}

kvm-remote-{{ file.key }}:
  file.managed:
    - name: {{ file.path | json }}
{#- OpenSSL writes what it is about before the text itself. #}
{%- if "-----BEGIN" in tls[file.key] %}
    - contents_pillar: kvm:host:tls:{{ file.key }}
{%- else %}
    - source: {{ tls[file.key] | json }}
{%- endif %}
    - user: root
    - group: root
    - mode: {{ file.mode | json }}
    - makedirs: true
    - dir_mode: '0755'
    - show_changes: false
    - require:
      - pkg: kvm-host-packages
{%- if listens %}
    - onchanges_in:
      - cmd: kvm-remote-read-anew
    - require_in:
      - service: kvm-remote-stopped
{%- endif %}
{%- endfor %}
{%- endif %}
{%- if x509 is not none %}

kvm-remote-x509-folder:
  file.directory:
    - name: {{ paths.key.rpartition("/")[0] | json }}
    - mode: '0755'
    - makedirs: true
    - require:
      - pkg: kvm-host-packages

kvm-remote-x509-key:
  x509.private_key_managed:
    - name: {{ paths.key | json }}
    - algo: rsa
    - keysize: 3072
    - mode: '0600'
    - require:
      - file: kvm-remote-x509-folder

kvm-remote-x509-cert:
  x509.certificate_managed:
    - name: {{ paths.cert | json }}
    - private_key: {{ paths.key | json }}
    - mode: '0644'
{%- for argument, value in x509.items() %}
    - {{ {argument: value} | json }}
{%- endfor %}
    - require:
      - x509: kvm-remote-x509-key
{%- if listens %}
    - onchanges_in:
      - cmd: kvm-remote-read-anew
    - require_in:
      - service: kvm-remote-stopped
{%- endif %}

# The host connects to its like by the same name.
{%- for ours, of in [("client_cert", "cert"), ("client_key", "key")] %}

kvm-remote-x509-{{ ours }}:
  file.symlink:
    - name: {{ paths[ours] | json }}
    - target: {{ paths[of] | json }}
    - require:
      - x509: kvm-remote-x509-cert
{%- endfor %}
{%- endif %}
{%- if sasl %}

kvm-remote-sasl-packages:
  pkg.installed:
    - pkgs: {{ host.sasl_packages | json }}
    - require:
      - pkg: kvm-host-packages

# file.keyvalue would write behind a last line that nobody has ended.
kvm-remote-sasl-ended:
  cmd.run:
    - name: sed -i -e '$a\' /etc/sasl2/libvirt.conf
    - onlyif: test -n "$(tail -c 1 /etc/sasl2/libvirt.conf 2>/dev/null)"
    - require:
      - pkg: kvm-remote-sasl-packages

kvm-remote-sasl-mechanisms:
  file.keyvalue:
    - name: /etc/sasl2/libvirt.conf
    - key_values: {{ {"mech_list": sasl.mechanisms | join(" ")} | json }}
    - separator: ': '
    - append_if_not_found: true
    - create_if_missing: true
    - require:
      - cmd: kvm-remote-sasl-ended
    - require_in:
      - kvm_host: kvm-remote-sasl
    - {{ read_anew | json }}
{%- if sasl.get("users") is mapping and sasl.users %}

# SASL's default is a database that serves other programs of the host too.
kvm-remote-sasl-database:
  file.keyvalue:
    - name: /etc/sasl2/libvirt.conf
    - key_values: {{ {"sasldb_path": host.sasl_database} | json }}
    - separator: ': '
    - uncomment: '#'
    - append_if_not_found: true
    - create_if_missing: true
    - unless: grep -q '^sasldb_path:' /etc/sasl2/libvirt.conf
    - require:
      - cmd: kvm-remote-sasl-ended
    - require_in:
      - kvm_host: kvm-remote-sasl
    - {{ read_anew | json }}
{%- for user, password in sasl.users.items() %}

{{ ("kvm-remote-sasl-user-" ~ user) | json }}:
  kvm_host.sasl_user{{ "_absent" if password is none }}:
    - name: {{ user | json }}
    - require:
      - file: kvm-remote-sasl-database
{%- endfor %}
{%- endif %}

kvm-remote-sasl:
  kvm_host.config:
    - files: {{ {remote.file: {"auth_tls": "sasl"}} | json }}
    - require:
      - pkg: kvm-host-packages
{%- if listens %}
    - require_in:
      - service: kvm-remote-stopped
{%- endif %}
{%- endif %}
{%- if serves and not remote.socket %}

kvm-remote-socket:
  test.fail_without_changes:
    - name: this release's libvirtd has no TLS socket; write listen_tls into kvm:host:config and --listen into LIBVIRTD_ARGS of /etc/sysconfig/libvirtd
{%- elif listens %}

# A socket can't be opened for a daemon that runs. Guests go on without it, and the next client or
# the state below starts it again.
kvm-remote-stopped:
  service.dead:
    - name: {{ remote.daemon | json }}
    - prereq:
      - service: kvm-remote-socket

kvm-remote-socket:
  service.running:
    - name: {{ remote.socket | json }}
    - enable: true
{%- elif serves %}

kvm-remote-socket:
  test.show_notification:
    - text: without systemd {{ remote.daemon }} listens for TLS where it was started with --listen
{%- endif %}
{%- if listens or (sasl and systemd) %}

kvm-remote-read-anew:
  cmd.run:
    - name: systemctl try-restart {{ remote.daemon }}.service
    - onchanges: []
{%- if listens %}
    - require:
      - service: kvm-remote-socket
{%- endif %}
{%- elif sasl %}

kvm-remote-read-anew:
  kvm_host.daemon:
    - name: {{ remote.daemon | json }}
    - require:
      - kvm_host: kvm-remote-sasl
{%- endif %}
{%- if polkit %}

kvm-remote-polkit-packages:
  pkg.installed:
    - pkgs: {{ host.polkit_rules.packages | json }}
    - require:
      - kvm_host: kvm-valid

kvm-remote-polkit:
  file.managed:
    - name: {{ host.polkit_rules.path | json }}
    - makedirs: true
    - mode: '0644'
    - require:
      - pkg: kvm-remote-polkit-packages
    - contents: |
{%- if host.polkit_rules.kind == "rules" %}
        // Written by Salt from kvm:host:polkit of the pillar.
        polkit.addRule(function(action, subject) {
          if (action.id == "org.libvirt.unix.manage" && {{ polkit.users | json }}.indexOf(subject.user) >= 0) {
            return polkit.Result.YES;
          }
        });
{%- else %}
        # Written by Salt from kvm:host:polkit of the pillar.
        [libvirt for those who are named]
        Identity={% for user in polkit.users %}unix-user:{{ user }}{{ "" if loop.last else ";" }}{% endfor %}
        Action=org.libvirt.unix.manage
        ResultAny=yes
        ResultInactive=yes
        ResultActive=yes
{%- endif %}
{%- if host.polkit_rules.kind == "rules" %}

# file.managed gives a file its mode when it has its name already. polkitd, which isn't root, may
# have tried to read it by then, and a change of its mode doesn't make it look again.
kvm-remote-polkit-read-anew:
  cmd.run:
    - name: cp -p {{ host.polkit_rules.path }} {{ host.polkit_rules.path }}.new && mv {{ host.polkit_rules.path }}.new {{ host.polkit_rules.path }}
    - onchanges:
      - file: kvm-remote-polkit
{%- endif %}
{%- endif %}
{%- if not (tls or sasl or polkit) %}

kvm-remote-none:
  test.nop: []
{%- endif %}
