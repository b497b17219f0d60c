{%- from "kvm/map.jinja" import kvm with context %}
{%- set host = kvm.host %}

include:
  - kvm.valid
  - kvm.host
{%- if host.nested is boolean %}

kvm-kernel-nested:
  kvm_host.nested:
    - enabled: {{ host.nested | json }}
    - require:
      - kvm_host: kvm-valid
{%- endif %}
{%- set told = [] %}
{%- for key in ["hugepages", "ksm", "transparent_hugepages", "bridge_netfilter"] if host[key] is not none %}
{%- do told.append({key: host[key]}) %}
{%- endfor %}
{%- if told %}

kvm-kernel-told:
  kvm_host.kernel:
{%- for argument in told %}
    - {{ argument | json }}
{%- endfor %}
    - require:
      - kvm_host: kvm-valid
{%- endif %}
{%- if host.iommu or host.kernel_arguments %}

kvm-kernel-arguments:
  kvm_host.kernel_arguments:
    - arguments: {{ (host.kernel_arguments or []) | json }}
    - iommu: {{ (host.iommu or false) | json }}
{%- for key, value in host.boot_loader.items() %}
    - {{ key }}: {{ value | json }}
{%- endfor %}
    - require:
      - kvm_host: kvm-valid
{%- endif %}
{%- if host.vhost_net %}

kvm-kernel-vhost-net:
  kmod.present:
    - name: vhost_net
    - persist: true
    - require:
      - kvm_host: kvm-valid
{%- endif %}
{%- if host.tuned %}

kvm-kernel-tuned-package:
  pkg.installed:
    - name: tuned
    - require:
      - kvm_host: kvm-valid

kvm-kernel-tuned-service:
  service.running:
    - name: tuned
    - enable: true
    - require:
      - pkg: kvm-kernel-tuned-package

kvm-kernel-tuned-profile:
  cmd.run:
    - name: {{ ("tuned-adm profile " ~ host.tuned) | json }}
    - unless: {{ ("grep -qx -- " ~ host.tuned ~ " /etc/tuned/active_profile") | json }}
    - require:
      - service: kvm-kernel-tuned-service
{%- endif %}
{%- if not (told or host.nested is boolean or host.iommu or host.kernel_arguments or host.vhost_net or host.tuned) %}

kvm-kernel-none:
  test.nop: []
{%- endif %}
