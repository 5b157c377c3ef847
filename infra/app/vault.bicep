// The mailboxes' secrets. The app reads them with its identity, through references in its settings. An operator writes
// them with az keyvault secret set. No secret passes through this template.

param name string
param location string
param tags object = {}

@description('Resource id of the workspace that records accesses.')
param workspaceId string

@description('Disabled: reachable only from the virtual network.')
@allowed([
  'Enabled'
  'Disabled'
])
param publicAccess string

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  // checkov:skip=CKV_AZURE_109:open to the internet unless privateNetwork is set, since a small installation has no network of its own; every read needs a token
  // checkov:skip=CKV_AZURE_189:open to the internet unless privateNetwork is set, as above; every read needs a token
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
    // Protects against deletion by mistake. The name stays in use until the vault is recovered or 90 days have passed:
    // infra/README.md.
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

@description('URL of the vault, with a slash at its end.')
output uri string = vault.properties.vaultUri
