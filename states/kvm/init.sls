include:
  - kvm.valid
  - kvm.host
  - kvm.network
  - kvm.pool
  - kvm.volume
  - kvm.image
  - kvm.domain
