include:
  - kvm.valid
  - kvm.host
  - kvm.config
  - kvm.remote
  - kvm.kernel
  - kvm.secret
  - kvm.network
  - kvm.pool
  - kvm.volume
  - kvm.image
  - kvm.domain
{%- if salt["pillar.get"]("kvm:vmx") %}
  - kvm.vmx
{%- endif %}
