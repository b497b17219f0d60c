include:
  - kvm.valid
  - kvm.host
  - kvm.network
  - kvm.pool
  - kvm.image
  - kvm.domain
