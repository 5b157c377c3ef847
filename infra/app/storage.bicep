// The app's own storage: the functions' queues, the leases, and the host's own data (timers' locks, the package).
// It contains no mail. Shared keys are off.

import { publicAccess as access, resourceTags } from '../types.bicep'

param name string
param location string
param tags resourceTags

@description('Three copies in three zones instead of in one.')
param zoneRedundant bool

@description('Resource id of the workspace that records deletions.')
param workspaceId string

@description('Disabled: reachable only from the virtual network.')
param publicAccess access

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
@export()
var leaseContainer = 'mailroom-leases'

@export()
@description('Container of the deployed package.')
var packageContainer = 'app-package'

resource account 'Microsoft.Storage/storageAccounts@2026-06-01' = {
  // Open to the internet unless privateNetwork is set, since a small installation has no network; every request needs a token.
  // One copy in one region suffices: sweep sends lost route requests again.
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: zoneRedundant ? 'Standard_ZRS' : 'Standard_LRS'
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

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2026-06-01' = {
  parent: account
  name: 'default'
}

resource packages 'Microsoft.Storage/storageAccounts/blobServices/containers@2026-06-01' = {
  parent: blobs
  name: packageContainer
  properties: {
    publicAccess: 'None'
  }
}

resource leases 'Microsoft.Storage/storageAccounts/blobServices/containers@2026-06-01' = {
  parent: blobs
  name: leaseContainer
  properties: {
    publicAccess: 'None'
  }
}

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2026-06-01' = {
  parent: account
  name: 'default'
}

resource queues 'Microsoft.Storage/storageAccounts/queueServices/queues@2026-06-01' = [
  for queue in concat(queueNames, poisonNames): {
    parent: queueService
    name: queue
  }
]

// Deletions only: the host renews its locks every few seconds, and each renewal would be a line.
// The newest stable version is of 2016 and lacks logs by category.
#disable-next-line use-recent-api-versions
resource deletions 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'deletions'
  scope: blobs
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'StorageDelete'
        enabled: true
      }
    ]
  }
}
