// The app's own storage: the functions' queues, the leases, and the host's own data (timers' locks, the package).
// It contains no mail. Shared keys are off.

param name string
param location string
param tags object = {}

@description('Container of the deployed package.')
param packageContainer string

@description('Disabled: reachable only from the virtual network.')
@allowed([
  'Enabled'
  'Disabled'
])
param publicAccess string

// The queues of shared/storage/base.py, QueueName. A test compares them.
var queueNames = [
  'polls'
  'route-requests'
  'lifecycle'
]

// The host moves messages that failed every try to <queue>-poison. It would create these queues at first use. They are
// created here, so that their lengths can be measured from the beginning.
var poisonNames = map(queueNames, queue => '${queue}-poison')

// The container of shared/storage/azure/leases.py. A test compares the names.
var leaseContainer = 'mailroom-leases'

resource account 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  // checkov:skip=CKV_AZURE_35:open to the internet unless privateNetwork is set, since a small installation has no network of its own; every request needs a token
  // checkov:skip=CKV_AZURE_206:one copy in one region suffices, since sweep sends lost route requests again
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: 'Standard_LRS'
  }
  properties: {
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    allowCrossTenantReplication: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: publicAccess
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: publicAccess == 'Enabled' ? 'Allow' : 'Deny'
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' = {
  parent: account
  name: 'default'
}

resource packages 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: blobs
  name: packageContainer
  properties: {
    publicAccess: 'None'
  }
}

resource leases 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: blobs
  name: leaseContainer
  properties: {
    publicAccess: 'None'
  }
}

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2023-05-01' = {
  parent: account
  name: 'default'
}

resource queues 'Microsoft.Storage/storageAccounts/queueServices/queues@2023-05-01' = [for queue in concat(queueNames, poisonNames): {
  parent: queueService
  name: queue
}]

output id string = account.id
output name string = account.name
output leaseContainer string = leases.name
output packageUrl string = '${account.properties.primaryEndpoints.blob}${packages.name}'
