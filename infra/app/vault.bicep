// The mailboxes' secrets. The app reads them by its identity, as references in its settings; who puts them there is an
// operator: az keyvault secret set. No secret passes through this template.

param name string
param location string
param tags object = {}

@description('Where it is recorded who read what.')
param workspaceId string

@description('Disabled: only from the virtual network.')
@allowed([
  'Enabled'
  'Disabled'
])
param publicAccess string

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  // checkov:skip=CKV_AZURE_109:open to the internet unless privateNetwork is set, since a small installation has no network of its own; every read needs a token
  // checkov:skip=CKV_AZURE_189:the same
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: subscription().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    // It cannot be lost by a mistake. Its name stays taken until it is recovered, or its 90 days are over: infra/README.md.
    enablePurgeProtection: true
    publicNetworkAccess: publicAccess
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: publicAccess == 'Enabled' ? 'Allow' : 'Deny'
    }
  }
}

resource reads 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'reads'
  scope: vault
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'AuditEvent'
        enabled: true
      }
    ]
  }
}

output id string = vault.id
output name string = vault.name

@description('With a slash at its end.')
output uri string = vault.properties.vaultUri
